"""A film as a timeline, for editors: OpenTimelineIO, and an edit decision list for older tools."""

from collections.abc import Mapping, Sequence
from typing import Any

from prefect_kling.studio.errors import ExtraMissing
from prefect_kling.studio.film.assembly import Film, FilmClip

_DEFAULT_RATE = 24.0
# An edit decision list has reels of 8 characters and counts in whole pictures.
_REEL = 8
EDL = "cmx_3600"


def timeline(film: Film, media: Mapping[str, str] | None = None) -> Any:
    """Return a film as an `opentimelineio.schema.Timeline`: a track of pictures, and one of sound.

    Each clip has its name, the part of it that is shown, its prompt, job and price as metadata, and
    its media by address: the `s3://` address of the clip, or what `media` says by clip key. Shots
    inside of a clip are markers, crossfades are transitions. Free, reads nothing.

    Raises `ExtraMissing` where the package is installed without its extra `timeline`.
    """
    otio = _library()
    rate = _rate(film)
    pictures = otio.schema.Track("Pictures", kind=otio.schema.TrackKind.Video)
    sound = otio.schema.Track("Sound", kind=otio.schema.TrackKind.Audio)
    for each, begin, end, fade in _spans(film.clips, rate):
        if fade:
            _fade(pictures, fade, rate, otio)
        pictures.append(_clip(each, begin, end, rate, media or {}, otio))
        if each.clip.media.audio:
            if fade:
                _fade(sound, fade, rate, otio)
            sound.append(_clip(each, begin, end, rate, media or {}, otio))
        else:
            length = otio.opentime.RationalTime(end - begin, rate)
            sound.append(otio.schema.Gap(duration=length))
    made = otio.schema.Timeline(film.title)
    made.metadata["prefect-kling"] = {
        "film_key": film.film_key,
        "uri": film.uri,
        "usd": str(film.usd),
    }
    made.tracks.append(pictures)
    if any(each.clip.media.audio for each in film.clips):
        made.tracks.append(sound)
    return made


def to_otio(film: Film, media: Mapping[str, str] | None = None) -> str:
    """Return the timeline of a film as the text of an `.otio` file."""
    text: str = timeline(film, media).to_json_string()
    return text


def to_edl(film: Film, media: Mapping[str, str] | None = None) -> str:
    """Return the cuts of a film as an edit decision list (CMX 3600).

    The form knows one track of pictures, no markers, and names of eight characters for sources; the
    whole names stand in comments.
    """
    otio = _library()
    made = timeline(film, media)
    made.tracks[:] = [made.tracks[0]]
    text: str = otio.adapters.write_to_string(made, adapter_name=EDL, rate=round(_rate(film)))
    return text


def _library() -> Any:
    try:
        import opentimelineio  # type: ignore[import-untyped]  # it ships no types
    except ImportError:
        raise ExtraMissing(
            "timelines need OpenTimelineIO, which the extra `timeline` installs"
        ) from None
    return opentimelineio


def _rate(film: Film) -> float:
    """Return the pictures a second of a film: those of its first clip."""
    if not film.clips or film.clips[0].clip.media.fps <= 0:
        return _DEFAULT_RATE
    return round(film.clips[0].clip.media.fps, 3)


def _spans(clips: Sequence[FilmClip], rate: float) -> list[tuple[FilmClip, int, int, int]]:
    """Return each clip with its first picture in the film, the one after its last, and its fade.

    Where two clips overlap, in a crossfade of so many pictures, the cut stands in the middle.
    """
    spans = []
    for number, each in enumerate(clips):
        begin = round(each.begins_at * rate)
        end = round((each.begins_at + each.seconds) * rate)
        fade = 0
        if number:
            before = clips[number - 1]
            fade = max(0, round((before.begins_at + before.seconds) * rate) - begin)
            begin += fade // 2
        if number + 1 < len(clips):
            after = round(clips[number + 1].begins_at * rate)
            overlap = max(0, end - after)
            end -= overlap - overlap // 2
        spans.append((each, begin, end, fade))
    return spans


def _fade(track: Any, pictures: int, rate: float, otio: Any) -> None:
    half = otio.opentime.RationalTime(pictures // 2, rate)
    rest = otio.opentime.RationalTime(pictures - pictures // 2, rate)
    kind = otio.schema.TransitionTypes.SMPTE_Dissolve
    track.append(otio.schema.Transition(transition_type=kind, in_offset=rest, out_offset=half))


def _clip(
    each: FilmClip, begin: int, end: int, rate: float, media: Mapping[str, str], otio: Any
) -> Any:
    clip = each.clip
    time = otio.opentime.RationalTime
    skipped = begin - round(each.begins_at * rate)
    reference = otio.schema.ExternalReference(
        target_url=media.get(clip.clip_key, clip.uri),
        available_range=otio.opentime.TimeRange(
            time(0, rate), time(round(clip.media.seconds * rate), rate)
        ),
    )
    made = otio.schema.Clip(
        name=each.name,
        media_reference=reference,
        source_range=otio.opentime.TimeRange(time(skipped, rate), time(end - begin, rate)),
    )
    made.metadata["prefect-kling"] = {
        "clip_key": clip.clip_key,
        "job_id": clip.job_id,
        "prompt": clip.order.request.prompt or clip.order.request.headline,
        "usd": str(clip.usd),
        "notes": list(clip.notes),
    }
    if clip.pictures is not None and clip.pictures.loudness_lufs is not None:
        made.metadata["prefect-kling"]["loudness_lufs"] = clip.pictures.loudness_lufs
    made.metadata["cmx_3600"] = {"reel": clip.clip_key[:_REEL]}
    for chapter in each.chapters[1:]:
        at = round((chapter.begins_at - each.begins_at) * rate)
        span = otio.opentime.TimeRange(time(at, rate), time(1, rate))
        made.markers.append(otio.schema.Marker(name=chapter.name, marked_range=span))
    return made
