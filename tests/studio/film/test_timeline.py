"""A film as a timeline and on disk: right lengths, names and media; an export that goes on."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_kling.blocks import KlingArchive
from prefect_kling.deployments.local.demo import local_archive
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.flows import produce_film
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import DownloadBroken, WrongFilm
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.export import export_film, find_film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.timeline import to_edl, to_otio
from prefect_kling.studio.media.picture_checks import PictureReport
from prefect_kling.studio.money.archive import Archive
from tests.conftest import eager_credentials

otio = pytest.importorskip("opentimelineio", reason="there may be no wheel for this Python")


@pytest.fixture(scope="module")
def archive_block(s3: LocalS3) -> KlingArchive:
    """One archive for all tests of this file."""
    return local_archive(s3, prefix=f"timeline-{secrets.token_hex(6)}")


@pytest.fixture(scope="module")
def film(archive_block: KlingArchive, shared_sandbox: Sandbox, prefect_ui: str) -> Film:
    """A film of a crossfade and a chain, one clip of it with sound."""
    tag = archive_block.prefix
    scenes: list[dict[str, Any]] = [
        {
            "shots": [
                {"prompt": f"A {tag}", "sound": "on"},
                {"prompt": f"B {tag}", "crossfade": 0.5},
            ],
        },
        {"continuity": "last_frame", "shots": [{"prompt": f"C {tag}"}, {"prompt": f"D {tag}"}]},
    ]
    board = Storyboard.model_validate(
        {"title": f"Cut: {tag} / 1", "defaults": {"duration": 3}, "scenes": scenes}
    )
    return asyncio.run(produce_film(board, eager_credentials(shared_sandbox), archive_block))


def clips_of(track: Any) -> Iterator[Any]:
    """The clips of a track, without transitions and gaps."""
    return (each for each in track if isinstance(each, otio.schema.Clip))


@pytest.mark.slow
def test_the_timeline_is_the_film(film: Film) -> None:
    """Read by the library itself: its length, each name, each part, and where the media is."""
    made = otio.adapters.read_from_string(to_otio(film), adapter_name="otio_json")
    pictures, sound = made.tracks
    rate = film.clips[0].clip.media.fps
    assert made.duration().to_seconds() == pytest.approx(film.seconds, abs=2 / rate)
    found = list(clips_of(pictures))
    assert [each.name for each in found] == [each.name for each in film.clips]
    assert [each.media_reference.target_url for each in found] == [
        each.clip.uri for each in film.clips
    ]
    for each in found:
        shown = each.source_range
        available = each.media_reference.available_range
        assert available.start_time <= shown.start_time
        assert shown.end_time_exclusive() <= available.end_time_exclusive()
    assert sum(isinstance(each, otio.schema.Transition) for each in pictures) == 1
    assert len(list(clips_of(sound))) == 1
    assert sound.duration() == pictures.duration()
    assert found[0].metadata["prefect-kling"]["job_id"] == film.clips[0].clip.job_id


def with_sounds(film: Film, loudness: tuple[float, ...]) -> Film:
    """The same film, whose clips all have sound that was measured so."""
    clips = []
    for each, lufs in zip(film.clips, loudness, strict=True):
        media = each.clip.media.model_copy(update={"audio": True})
        pictures = PictureReport(loudness_lufs=lufs)
        clip = each.clip.model_copy(update={"media": media, "pictures": pictures})
        clips.append(each.model_copy(update={"clip": clip}))
    return film.model_copy(update={"clips": tuple(clips)})


@pytest.mark.slow
def test_opentimelineios_own_tools_open_it(film: Film, tmp_path: Path) -> None:
    """Its statistics, a conversion there and back, and its list of media: names, length, tracks.

    The clips differ in loudness, and each says its own.
    """
    loudness = (-14.0, -23.5, -31.0, -40.2)
    heard = with_sounds(film, loudness)
    path = tmp_path / "film.otio"
    path.write_text(to_otio(heard))
    told = tool("otiostat", path)
    assert "parsed: True" in told
    assert f"clips: {2 * len(film.clips)}" in told
    assert "tracks: 2" in told

    tool("otioconvert", "-i", path, "-o", tmp_path / "again.otio")
    again = otio.adapters.read_from_file(str(tmp_path / "again.otio"))
    pictures, sound = again.tracks
    assert [track.kind for track in again.tracks] == ["Video", "Audio"]
    assert sound.duration() == pictures.duration() == again.duration()
    own = [each.metadata["prefect-kling"]["loudness_lufs"] for each in clips_of(sound)]
    assert tuple(own) == loudness
    assert [each.name for each in clips_of(sound)] == [each.name for each in film.clips]

    listed = tool("otiotool", "--input", path, "--list-media", "--list-clips", "--list-tracks")
    for each in film.clips:
        assert each.name in listed
        assert each.clip.uri in listed
    assert "Audio" in listed


def tool(name: str, *words: object) -> str:
    """What a tool of OpenTimelineIO's says, which must succeed."""
    program = Path(sys.executable).parent / name
    done = subprocess.run([program, *map(str, words)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_edit_list_has_every_cut(film: Film) -> None:
    """Read again by its own adapter, it has the same cuts in the same places."""
    text = to_edl(film)
    assert film.clips[0].name in text
    made = otio.adapters.read_from_string(
        text, adapter_name="cmx_3600", rate=round(film.clips[0].clip.media.fps)
    )
    assert len(list(clips_of(made.tracks[0]))) == len(film.clips)
    assert made.duration().to_seconds() == pytest.approx(film.seconds, abs=0.1)


def test_an_export_is_verified_and_goes_on(film: Film, archive: Archive, tmp_path: Path) -> None:
    """A second one brings what is missing or damaged; the timeline leads to files beside it."""
    first = list(export_film(film, tmp_path, archive))
    assert all(each.is_new for each in first)
    names = {str(each.path.relative_to(tmp_path)) for each in first}
    others = {"film.mp4", "contact-sheet.jpg", "manifest.json", "timeline.otio", "timeline.edl"}
    assert others <= names
    assert sum(name.startswith("clips/") for name in names) == len(film.clips)

    damaged = tmp_path / "film.mp4"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    again = list(export_film(film, tmp_path, archive))
    assert [each.path for each in again if each.is_new] == [damaged]

    made = otio.adapters.read_from_file(str(tmp_path / "timeline.otio"))
    for each in clips_of(made.tracks[0]):
        assert (tmp_path / each.media_reference.target_url).is_file()


def test_a_file_that_is_not_the_one_of_the_manifest_is_not_kept(
    film: Film, archive: Archive, tmp_path: Path
) -> None:
    """Nothing appears under the name of the film."""
    wrong = film.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(DownloadBroken, match="its manifest says"):
        list(export_film(wrong, tmp_path, archive))
    assert not (tmp_path / "film.mp4").exists()


def test_a_film_is_found_by_its_name_and_by_its_addresses(film: Film, archive: Archive) -> None:
    """Its title, and the addresses of the film, of its manifest, and of its folder."""
    folder = film.uri.rpartition("/")[0]
    for name in (film.title, film.slug, film.uri, film.manifest_uri, folder):
        assert find_film(name, archive) == film
    with pytest.raises(WrongFilm, match=f"; there are {film.slug}"):
        find_film(f"{film.title} 2", archive)
    for name in ("no-such-film", "s3://elsewhere/films/x", "films/none"):
        with pytest.raises(WrongFilm):
            find_film(name, archive)


def test_who_names_no_film_is_told_those_there_are(archive: Archive) -> None:
    """Those of a similar name first, and not more than five."""
    for slug in ("alps", "beach", "city", "desert", "forest", "harbour"):
        archive.bucket.put(f"films/{slug}/x/manifest.json", b"{}", "application/json")
    with pytest.raises(
        WrongFilm, match=r"; there are harbour, alps, beach(, [\w-]+){2} and \d more"
    ):
        find_film("Harbor", archive)


def partial_files(folder: Path) -> list[Path]:
    """Files that are not whole."""
    return list(folder.rglob("*.partial"))


KILLED = """
import sys
from pathlib import Path
from prefect_kling.deployments.local.demo import local_archive
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.studio.film.export import export_film, find_film

s3 = LocalS3(*sys.argv[1:4])
archive = local_archive(s3, sys.argv[4]).get_archive()
for exported in export_film(find_film(sys.argv[5], archive), Path(sys.argv[6]), archive):
    print(exported.path, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
def test_an_export_survives_a_kill(
    film: Film, archive: Archive, s3: LocalS3, tmp_path: Path
) -> None:
    """Shot after its second file; the next one brings the others, and no half file is left."""
    prefix = archive.bucket.prefix.strip("/")
    words = [s3.endpoint, s3.access_key, s3.secret_key, prefix, film.slug, str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        process.kill()
    new = [each.path.name for each in export_film(film, tmp_path, archive) if each.is_new]
    assert len(new) == len(film.clips) + 5 - 2
    assert partial_files(tmp_path) == []
