"""What one clip gives to the next: made once, kept, and named before the clip exists."""

import io

import av
import pytest

from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import InputUnusable, LedgerUnreadable
from prefect_kling.studio.film.continuation import cut_point_of, extract_continuation
from prefect_kling.studio.film.plan import Handover
from prefect_kling.studio.money.archive import ARCHIVE_URL, Archive, Clip
from prefect_kling.studio.money.orders import ClipOrder
from tests.studio.media.clips import Recipe, make_clip


def keep(archive: Archive, frames: int, name: str = "clip") -> Clip:
    """An archived clip of so many pictures, put there as an archiving run leaves it."""
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=f"{name} {frames}"))
    data = make_clip(Recipe(frames=frames))
    archive.bucket.put(f"clips/{order.clip_key}.mp4", data, "video/mp4")
    return archive.keep(order, VideoJob(job_id=name, state=JobState.COMPLETED, urls=()))


def decoded(archive: Archive, path: str) -> tuple[int, bool]:
    """How many pictures a stored video shows, and whether it has sound."""
    file = io.BytesIO()
    archive.bucket.fetch(path, file)
    file.seek(0)
    with av.open(file) as container:
        return sum(1 for _ in container.decode(video=0)), bool(container.streams.audio)


@pytest.mark.parametrize("kind", ["last_frame", "sharpest_frame", "tail"])
def test_a_handover_is_kept_once(kind: str, archive: Archive) -> None:
    """The address is known from the clip key alone, and asking again changes nothing."""
    clip = keep(archive, 80)
    handover = Handover.model_validate({"kind": kind, "clip_key": clip.clip_key})
    assert (
        extract_continuation(clip, handover, archive)
        == ARCHIVE_URL + handover.path
        == handover.address
    )
    first = archive.bucket.read(handover.path)
    archive.bucket.delete(f"clips/{clip.clip_key}.mp4")
    assert extract_continuation(clip, handover, archive) == handover.address
    again = archive.bucket.read(handover.path)
    assert first is not None
    assert again is not None
    assert (again.body, again.etag) == (first.body, first.etag)


def test_where_the_film_ends_a_clip_is_written_beside_its_sharpest_picture(
    archive: Archive,
) -> None:
    """The record is there before the picture, so who finds the picture knows the cut."""
    clip = keep(archive, 80)
    assert cut_point_of(clip, archive) is None
    extract_continuation(clip, Handover(kind="sharpest_frame", clip_key=clip.clip_key), archive)
    ending = cut_point_of(clip, archive)
    assert ending is not None
    assert 68 <= ending.pictures <= 80
    assert ending.seconds == pytest.approx(ending.pictures / 24, abs=0.01)


def test_a_damaged_ending_stops_the_film(archive: Archive) -> None:
    """Nobody guesses where a clip was cut."""
    clip = keep(archive, 80)
    archive.bucket.put(f"frames/{clip.clip_key}.sharpest.json", b"{", "application/json")
    with pytest.raises(LedgerUnreadable, match=r"sharpest\.json"):
        cut_point_of(clip, archive)


@pytest.mark.parametrize(("frames", "kept"), [(72, 72), (240, 240), (241, 240), (360, 240)])
def test_a_tail_is_what_the_api_takes(frames: int, kept: int, archive: Archive) -> None:
    """At most ten seconds, the last ones: a ten-second clip may hold a picture more."""
    clip = keep(archive, frames)
    extract_continuation(clip, Handover(kind="tail", clip_key=clip.clip_key), archive)
    assert decoded(archive, f"tails/{clip.clip_key}.mp4") == (kept, False)


def test_a_clip_too_short_for_the_api_is_refused_before_money_is_spent(archive: Archive) -> None:
    """An input video has at least three seconds, whatever was ordered."""
    clip = keep(archive, 60)
    with pytest.raises(InputUnusable, match=r"2\.50 s; as an input video it needs at least 3 s"):
        extract_continuation(clip, Handover(kind="tail", clip_key=clip.clip_key), archive)
