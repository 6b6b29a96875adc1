"""What is to be seen and heard in painted clips."""

from typing import Any

import pytest
from PIL import Image, ImageStat

from prefect_kling.sandbox import read_frame_code
from prefect_kling.sandbox.clip_request import clip_size
from prefect_kling.sandbox.painter import typeface, wrap
from tests.sandbox.looking import codes, difference


def sky(frame: Image.Image) -> tuple[int, ...]:
    """Mean colour of a place where nothing is ever written."""
    return tuple(map(round, ImageStat.Stat(frame.crop((130, 4, 200, 30))).mean))


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ({}, (320, 180)),
        ({"mode": "pro"}, (480, 270)),
        ({"aspect_ratio": "9:16"}, (180, 320)),
        ({"aspect_ratio": "1:1", "mode": "pro"}, (270, 270)),
    ],
)
def test_clip_facts(gallery: Any, more: dict[str, Any], size: tuple[int, int]) -> None:
    """A clip has the size of its mode and ratio, 24 pictures a second throughout, and B-frames."""
    clip = gallery.clip(**more)
    assert (clip.size, clip.rate, clip.seconds, len(clip.frames)) == (size, 24, 3.0, 72)
    assert (clip.pixels, clip.reordered, clip.sound) == ("yuv420p", True, [])
    assert clip.key_frames[0] == 0
    assert (
        max(b - a for a, b in zip(clip.key_frames, [*clip.key_frames[1:], 72], strict=True)) <= 48
    )
    assert clip.data.index(b"moov") < clip.data.index(b"mdat")


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ({"mode": "std", "aspect_ratio": "16:9"}, (1280, 720)),
        ({"mode": "std", "aspect_ratio": "9:16"}, (720, 1280)),
        ({"mode": "std", "aspect_ratio": "1:1"}, (720, 720)),
        ({"mode": "pro", "aspect_ratio": "16:9"}, (1920, 1080)),
        ({"mode": "pro", "aspect_ratio": "9:16"}, (1080, 1920)),
        ({}, (1280, 720)),
    ],
)
def test_real_sizes(body: dict[str, str], size: tuple[int, int]) -> None:
    """Without scaling down, std is of the 720p class and pro of the 1080p class."""
    assert clip_size(body, None, None) == size


def test_every_frame_is_coded(gallery: Any) -> None:
    """Each frame shows the numbers of its job and its own, and differs from its neighbours."""
    clip = gallery.clip()
    number = codes(clip)[0][0]
    assert codes(clip) == [(number, index) for index in range(72)]
    assert min(difference(a, b) for a, b in zip(clip.frames, clip.frames[1:], strict=False)) > 0.1


def test_prompt_decides_the_scene(gallery: Any) -> None:
    """Other prompts give other pictures."""
    scenes = {
        sky(gallery.clip(prompt=prompt).frames[40])
        for prompt in ("a fox", "a harbour", "rain", "the moon")
    }
    assert len(scenes) > 1


def test_clips_can_be_joined(gallery: Any) -> None:
    """Clips of one mode and ratio share their decoder settings; other sizes do not."""
    one, two, three = (
        gallery.clip(),
        gallery.clip(prompt="other", sound="on", duration="4"),
        gallery.clip(mode="pro"),
    )
    assert one.extradata == two.extradata != three.extradata


def test_sound(gallery: Any) -> None:
    """Sound is stereo AAC at 48 kHz."""
    assert gallery.clip(sound="on").sound == [("aac", 48000, "stereo")]


def test_first_frame(gallery: Any, shelf: Any) -> None:
    """The clip opens with the given picture, code and all, and goes on with its own codes."""
    before = gallery.clip(prompt="before").frames[-1]
    address = shelf.put("last.png", before)
    clip = gallery.clip(image_list=[{"image_url": address, "type": "first_frame"}])
    assert read_frame_code(before) is not None
    assert codes(clip)[0] == read_frame_code(before)
    assert difference(clip.frames[0], before) < 3
    assert [code[1] for code in codes(clip)[1:]] == list(range(1, 72))
    assert difference(clip.frames[20], before) > 5


def test_end_frame(gallery: Any, shelf: Any) -> None:
    """The clip ends with the given picture."""
    start, end = gallery.clip(prompt="start").frames[-1], gallery.clip(prompt="end").frames[10]
    pictures = [
        {"image_url": shelf.put("start.png", start), "type": "first_frame"},
        {"image_url": shelf.put("end.png", end), "type": "end_frame"},
    ]
    clip = gallery.clip(image_list=pictures)
    assert (codes(clip)[0], codes(clip)[-1]) == (read_frame_code(start), read_frame_code(end))
    assert difference(clip.frames[-1], end) < 3
    assert codes(clip)[70][1] == 70


@pytest.mark.parametrize(
    ("shape", "size"),
    [((200, 400), (180, 320)), ((400, 300), (180, 180)), ((1600, 900), (320, 180))],
)
def test_first_frame_sets_the_shape(
    gallery: Any, shelf: Any, shape: tuple[int, int], size: tuple[int, int]
) -> None:
    """Without a ratio of its own a clip takes the one nearest to its first frame's."""
    address = shelf.put("first.png", Image.new("RGB", shape, "teal"))
    assert gallery.clip(image_list=[{"image_url": address, "type": "first_frame"}]).size == size


def test_references(gallery: Any, shelf: Any) -> None:
    """A plain reference is pinned to the corner and does not open the clip."""
    address = shelf.put("hat.png", Image.new("RGB", (300, 300), (255, 0, 0)))
    clip = gallery.clip(image_list=[{"image_url": address}], element_list=[{"element_id": 12}])
    red, green, _ = ImageStat.Stat(clip.frames[30].crop((290, 35, 305, 50))).mean
    assert red > 180 > 60 > green
    assert codes(clip)[0][1] == 0


def test_base_video(gallery: Any) -> None:
    """An edit keeps its input's length and pictures, in other colours, under its own codes."""
    link = gallery.link(prompt="before", duration="4")
    before = read_clip(gallery, link)
    clip = gallery.clip(
        prompt="after", duration="10", video_list=[{"video_url": link, "refer_type": "base"}]
    )
    assert len(clip.frames) == len(before.frames) == 96
    assert [code[1] for code in codes(clip)] == list(range(96))
    assert codes(clip)[0][0] != codes(before)[0][0]
    greys = [
        (a.convert("L"), b.convert("L")) for a, b in zip(clip.frames, before.frames, strict=True)
    ]
    free = (130, 0, 320, 60)
    assert max(difference(a, b, free) for a, b in greys) < 8
    assert sky(clip.frames[50]) != sky(before.frames[50])


@pytest.mark.slow
@pytest.mark.parametrize(("keep", "sound"), [("yes", [("aac", 48000, "stereo")]), ("no", [])])
def test_kept_sound(gallery: Any, keep: str, sound: list[Any]) -> None:
    """The sound of an input video is kept if asked for."""
    video = {
        "video_url": gallery.link(sound="on"),
        "refer_type": "base",
        "keep_original_sound": keep,
    }
    assert gallery.clip(video_list=[video]).sound == sound


def test_nothing_to_keep(gallery: Any) -> None:
    """A silent input stays silent."""
    video = {"video_url": gallery.link(), "refer_type": "base", "keep_original_sound": "yes"}
    assert gallery.clip(video_list=[video]).sound == []


def test_watermark(gallery: Any) -> None:
    """A watermark is visible below the head, and only when asked for."""
    corner = (9, 30, 60, 42)
    plain, again, marked = (
        gallery.clip(),
        gallery.clip(),
        gallery.clip(watermark_info={"enabled": True}),
    )
    assert difference(plain.frames[40], again.frames[40], corner) < 2
    assert difference(plain.frames[40], marked.frames[40], corner) > 10


@pytest.mark.parametrize("prompt", ["", "x" * 2500, "word " * 500, "海边日落" * 80, "🦊\n\tfox"])
def test_any_prompt_can_be_painted(gallery: Any, shelf: Any, prompt: str) -> None:
    """No prompt breaks the picture: none, endless, without spaces, or in another script."""
    address = shelf.put("a.png", Image.new("RGB", (300, 300)))
    assert gallery.finish(prompt, image_list=[{"image_url": address}])["state"] == "completed"


def test_wrapping() -> None:
    """Text is broken into lines of about the width, and what does not fit ends in an ellipsis."""
    face = typeface("", 20)
    for text in ("one two three " * 20, "x" * 200):
        lines = wrap(text, face, 150, 4)
        assert (len(lines), lines[-1][-1]) == (4, "…")
        assert max(face.getlength(line) for line in lines) <= 150 * 1.3
    assert wrap("short", face, 150, 4) == ["short"]


def read_clip(gallery: Any, link: str) -> Any:
    """Decode a clip from its link."""
    return type(gallery.clip())(gallery.http.get(link).content)
