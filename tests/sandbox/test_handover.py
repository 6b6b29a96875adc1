"""Clips that begin with, end with, go on from or edit given pictures."""

from typing import Any

import pytest
from PIL import Image, ImageChops

from prefect_kling.sandbox import read_frame_code
from tests.sandbox.looking import (
    PICTURE,
    brightness,
    codes,
    correlation,
    difference,
    film,
    marching,
    steps,
)

FADE = 12
SLATE = (4, 150, 160, 170)
"""Where a prompt is written."""
BARE = (0, 0, 320, 50)
"""A place where an edit has no slate."""


def picture_of(gallery: Any, prompt: str) -> Image.Image:
    """Make a picture to hand over."""
    frame: Image.Image = gallery.clip(prompt=prompt).frames[-1]
    return frame


@pytest.fixture
def faded(gallery: Any, shelf: Any) -> Any:
    """A clip between two given pictures."""
    given = {"first_frame": "before", "end_frame": "afterwards, quite another place"}
    pictures = [
        {"image_url": shelf.put(f"{kind}.png", picture_of(gallery, prompt)), "type": kind}
        for kind, prompt in given.items()
    ]
    return gallery.clip(prompt="meanwhile in a third place", image_list=pictures)


@pytest.mark.slow
@pytest.mark.parametrize("box", [PICTURE, SLATE])
def test_fades_are_smooth(faded: Any, box: tuple[int, int, int, int]) -> None:
    """Scene and titles both come and go by small steps, least of all at either end of a fade."""
    changes = steps(faded.frames, box)
    for fade in (changes[:FADE], changes[-FADE:]):
        assert sum(fade) > 20
        assert max(fade) < 0.25 * sum(fade)
        assert max(fade[0], fade[-1]) < 0.5 * max(fade)
    assert max(changes[FADE:-FADE]) < 3


def test_fades_take_half_a_second(faded: Any) -> None:
    """Outside the first and the last half second nothing is seen of the given pictures."""
    middle = faded.frames[FADE:-FADE]
    assert difference(middle[0], middle[5], PICTURE) < 3
    assert difference(middle[-1], middle[-6], PICTURE) < 3
    assert min(difference(faded.frames[0], frame, PICTURE) for frame in middle) > 10
    assert min(difference(faded.frames[-1], frame, PICTURE) for frame in middle) > 10


def test_feature_video(gallery: Any, shelf: Any) -> None:
    """A clip after a feature video begins with the very last picture of that video."""
    before = gallery.clip(prompt="before", duration="4")
    video = {"video_url": shelf.put("before.mp4", before.data), "refer_type": "feature"}
    clip = gallery.clip(prompt="where it leads to", video_list=[video])
    assert codes(clip)[0] == codes(before)[-1]
    assert difference(clip.frames[0], before.frames[-1]) < 1.5
    assert difference(clip.frames[0], before.frames[-1]) < difference(
        clip.frames[0], before.frames[-13]
    )
    assert [code and code[1] for code in codes(clip)[1:]] == list(range(1, 72))
    assert len(clip.frames) == 72
    changes = steps(clip.frames, PICTURE)
    assert max(changes) == max(changes[:FADE]) < 0.25 * sum(changes[:FADE])
    assert difference(clip.frames[FADE], before.frames[-1], PICTURE) > 10


def test_the_last_picture_of_any_video(gallery: Any, shelf: Any) -> None:
    """The last picture of a video from elsewhere is shown exactly, at any size of clip."""
    pictures = marching(77)
    video = {"video_url": shelf.put("march.mp4", film(pictures)), "refer_type": "feature"}
    for mode, size in (("std", (320, 180)), ("pro", (480, 270))):
        first = gallery.clip(mode=mode, video_list=[video]).frames[0]
        shown = first.resize((320, 180))
        apart = [difference(shown, picture, BARE) for picture in pictures]
        assert (first.size, apart.index(min(apart))) == (size, 76)
        assert apart[-1] < 2


def test_chains_do_not_darken(gallery: Any, shelf: Any) -> None:
    """Handed on from clip to clip a picture stays as bright as it was."""
    clip, changes = gallery.clip(prompt="link 0"), []
    for number in (1, 2):
        before = clip
        video = {"video_url": shelf.put(f"{number}.mp4", before.data), "refer_type": "feature"}
        clip = gallery.clip(prompt=f"link {number}", video_list=[video])
        changes.append(brightness(clip.frames[0]) - brightness(before.frames[-1]))
    assert max(map(abs, changes)) < 0.4


def test_first_frame_outranks_feature_video(gallery: Any, shelf: Any) -> None:
    """Beside a first frame a feature video does not decide how the clip begins, nor its shape."""
    picture = picture_of(gallery, "the picture").resize((180, 320))
    clip = gallery.clip(
        image_list=[{"image_url": shelf.put("first.png", picture), "type": "first_frame"}],
        video_list=[{"video_url": gallery.link(prompt="the video"), "refer_type": "feature"}],
    )
    assert clip.size == (180, 320)
    assert difference(clip.frames[0], picture) < 3
    assert read_frame_code(clip.frames[0]) == read_frame_code(picture)


def shown_at(clip: Any, pictures: list[Image.Image]) -> list[int]:
    """Return which of some pictures each frame of a clip is most like."""
    greys, found = [picture.convert("L").crop(BARE) for picture in pictures], []
    for frame in clip.frames:
        grey = frame.convert("L").crop(BARE)
        apart = [brightness(ImageChops.difference(grey, other)) for other in greys]
        found.append(apart.index(min(apart)))
    return found


def test_edit_keeps_every_picture(gallery: Any, shelf: Any) -> None:
    """Frame n of an edit is frame n of its input in other colours, and both end together."""
    pictures = marching(77)
    video = {"video_url": shelf.put("march.mp4", film(pictures)), "refer_type": "base"}
    clip = gallery.clip(prompt="at night", duration="10", video_list=[video])
    assert shown_at(clip, pictures) == list(range(77))
    pairs = list(zip(clip.frames, pictures, strict=True))
    assert min(correlation(frame, picture, BARE) for frame, picture in pairs[::8]) > 0.98
    assert min(difference(frame, picture, BARE) for frame, picture in pairs) > 5


@pytest.mark.slow
def test_edit_of_a_faster_video(gallery: Any, shelf: Any) -> None:
    """An input of 30 pictures a second becomes one of 24, each taken at its own time."""
    pictures = marching(96)
    video = {"video_url": shelf.put("march.mp4", film(pictures, rate=30)), "refer_type": "base"}
    clip = gallery.clip(video_list=[video])
    taken = shown_at(clip, pictures)
    assert len(taken) == round(96 / 30 * 24)
    assert all(abs(index / 30 - frame / 24) < 1 / 30 for frame, index in enumerate(taken))
