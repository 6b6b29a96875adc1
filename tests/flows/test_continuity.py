"""Each continuity keeps its promise: sandbox films, compared picture by picture."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import av
import pytest
from PIL import ImageOps

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import produce_film
from prefect_kling.sandbox import Sandbox, read_frame_code
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.media.frames import first_frame, last_frame
from prefect_kling.studio.money.archive import Archive
from tests.flows.pictures import around_joins, difference, frames, paint, picture, video
from tests.sandbox.looking import correlation

pytestmark = pytest.mark.usefixtures("prefect_ui")

Make = Callable[..., Awaitable[Film]]
PICTURE = (0, 0, 160, 85)
"""All of a picture of 160 x 90 but the frame code, which jumps from frame to frame."""
ALIKE, UNLIKE = 6.0, 12.0
"""Mean differences per channel: below, two pictures show the same; above, they do not."""


@pytest.fixture
def make(credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive) -> Make:
    """Make a film of one scene with this test's own prompts."""

    async def made(
        *prompts: str, references: dict[str, object] | None = None, **scene: object
    ) -> Film:
        lengths = scene.pop("lengths", [None] * len(prompts))
        shots = [
            {"prompt": f"{prompt} {archive.bucket.prefix}", "duration": length}
            for prompt, length in zip(prompts, lengths, strict=True)  # type: ignore[call-overload]
        ]
        board = {
            "title": f"Join {archive.bucket.prefix}",
            "defaults": {"duration": 3},
            "references": references or {},
            "scenes": [{**scene, "shots": shots}],
        }
        return await produce_film(Storyboard.model_validate(board), credentials, archive_block)

    return made


def jobs(sandbox: Sandbox, archive: Archive) -> list[dict[str, object]]:
    """The bodies the API was sent for this test."""
    return [job["body"] for job in sandbox.jobs() if archive.bucket.prefix in str(job["body"])]


async def test_a_cut_is_a_cut(make: Make, archive: Archive) -> None:
    """Independent shots have nothing in common where they meet."""
    film = await make("A lighthouse", "A market hall")
    assert [difference(*pair) > UNLIKE for pair in around_joins(archive, film)] == [True]


async def test_the_last_picture_is_handed_over(make: Make, archive: Archive) -> None:
    """With `handover: last` the last picture of a clip is the first of the next one."""
    film = await make("A boat", "The sail", continuity="last_frame", handover="last")
    for before, after in around_joins(archive, film):
        assert difference(before, after) < ALIKE
        assert read_frame_code(before) == read_frame_code(after)
    assert len(frames(archive, film.uri)) == sum(clip.clip.media.frames for clip in film.clips)


@pytest.mark.slow
async def test_the_sharpest_final_picture_is_handed_over_and_the_film_ends_the_clip_there(
    make: Make, archive: Archive
) -> None:
    """Both sides of the join show one picture, from the last half second of the clip."""
    film = await make("A boat", "The sail", "The gull", continuity="last_frame")
    for before, after in around_joins(archive, film):
        assert difference(before, after) < ALIKE
        assert read_frame_code(before) == read_frame_code(after)
    for clip in film.clips:
        assert 0 <= clip.clip.media.seconds - clip.seconds < 0.5


async def test_keyframes_are_shared_by_neighbours(
    make: Make, archive: Archive, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each shot begins and ends with the planned pictures; no shot waits for another."""
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
    paths = [paint(tmp_path / f"{number}.png", colour) for number, colour in enumerate(colours)]
    named = {f"key{number}": {"image": str(path)} for number, path in enumerate(paths)}
    film = await make(
        "Red to green",
        "Green to blue",
        continuity="keyframes",
        keyframes=[*named],
        references=named,
    )
    for clip, first, last in zip(film.clips, paths, paths[1:], strict=False):
        stored = video(archive, f"clips/{clip.clip.clip_key}.mp4")
        assert difference(picture(first_frame(stored).data), picture(first.read_bytes())) < ALIKE
        assert difference(picture(last_frame(stored).data), picture(last.read_bytes())) < ALIKE
    assert [difference(*pair) < ALIKE for pair in around_joins(archive, film)] == [True]
    assert [clip.made_from for clip in film.clips] == [(), ()]


async def test_a_reference_video_is_continued(
    make: Make, archive: Archive, sandbox: Sandbox
) -> None:
    """The next shot is made from the last video, without sound, and begins where it ends."""
    film = await make("A dancer turns", "She leaps", continuity="reference_video", sound="on")
    body = next(body for body in jobs(sandbox, archive) if "video_list" in body)
    assert body["sound"] == "off"
    assert body["video_list"][0]["refer_type"] == "feature"  # type: ignore[index]
    assert [difference(*pair) < ALIKE for pair in around_joins(archive, film)] == [True]
    assert [clip.clip.media.audio for clip in film.clips] == [True, False]


@pytest.mark.slow
async def test_fifteen_seconds_are_continued_from_their_last_ten(
    make: Make, archive: Archive, sandbox: Sandbox
) -> None:
    """A clip too long for the API is trimmed; its end is what the next shot begins with."""
    film = await make("A long walk", "The gate", continuity="reference_video", lengths=[12, 3])
    tail = video(archive, f"tails/{film.clips[0].clip.clip_key}.mp4")
    with av.open(tail) as container:
        assert 230 < sum(1 for _ in container.decode(video=0)) <= 240
    assert [difference(*pair) < ALIKE for pair in around_joins(archive, film)] == [True]


async def test_several_shots_in_one_clip_are_chapters(
    make: Make, archive: Archive, sandbox: Sandbox
) -> None:
    """One job; the model cuts where the shots end, and each shot is a chapter there."""
    film = await make("The door", "The stairs", "The roof", continuity="multi_shot", duration=2)
    assert len(jobs(sandbox, archive)) == 1
    assert [chapter.begins_at for chapter in film.clips[0].chapters] == [0.0, 2.0, 4.0]
    shown = frames(archive, film.uri)
    assert difference(shown[47], shown[48]) > UNLIKE
    assert difference(shown[46], shown[47]) < ALIKE


async def test_an_edit_keeps_time_with_what_it_edits(make: Make, archive: Archive) -> None:
    """Picture by picture the edited clip shows what the one before it shows, in other colours."""
    film = await make("A square at noon", "The same at night", continuity="edit")
    original, edited = (frames(archive, clip.clip.uri) for clip in film.clips)
    assert len(original) == len(edited)
    assert difference(original[36], edited[36]) > ALIKE
    for place in (12, 36, 60):
        same = correlation(original[place], edited[place], PICTURE)
        # What is painted depends on the prompt: of 24 prompts, the least were 0.64, and 0.35 more.
        assert same > 0.4
        assert same > correlation(ImageOps.mirror(original[place]), edited[place], PICTURE) + 0.15


@pytest.mark.slow
async def test_a_crossfade_mixes_two_shots(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive
) -> None:
    """A shot that begins anew fades in over the one before; the film is shorter by that."""
    shots = [{"prompt": f"{name} {archive.bucket.prefix}"} for name in ("Dawn", "Dusk")]
    board = {
        "title": "Fade",
        "defaults": {"duration": 3, "crossfade": 1.0},
        "scenes": [{"shots": shots}],
    }
    film = await produce_film(Storyboard.model_validate(board), credentials, archive_block)
    assert film.seconds == pytest.approx(5.0, abs=0.1)
    assert film.re_encoded
