"""Single pictures: the true first and last one, in their true colours."""

import functools
import io
import random
import struct
from fractions import Fraction
from pathlib import Path
from tempfile import SpooledTemporaryFile

import av
import pytest
from PIL import Image

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.frames import (
    STILL_LIMIT,
    Still,
    encode_still,
    first_frame,
    last_frame,
)
from prefect_kling.studio.media.oddities import oddities
from prefect_kling.studio.media.probe import read_facts
from tests.lane import rest_is_slow
from tests.studio.media.clips import (
    Recipe,
    Watched,
    blank_media,
    decode_bars,
    make_clip,
    patch,
    read_code,
)

HEVC = {"preset": "ultrafast", "x265-params": "log-level=none:keyint=12"}
AWKWARD = {
    "plain": Recipe(),
    "eight B-frames": Recipe(frames=40, gop=30, b_frames=8),
    "pyramid": Recipe(
        frames=30, gop=30, b_frames=5, x264={"preset": "fast", "b-pyramid": "normal"}
    ),
    "ends on a B-frame": Recipe(frames=23, gop=300, b_frames=3, x264={"x264-params": "b-adapt=0"}),
    "open GOP": Recipe(frames=60, x264={"x264-params": "open-gop=1"}),
    "one GOP": Recipe(frames=72, gop=500),
    "lone last key frame": Recipe(frames=25),
    "key frames only": Recipe(gop=1),
    "rolling refresh": Recipe(frames=60, x264={"x264-params": "intra-refresh=1"}),
    "sound longer": Recipe(sound=2.5),
    "sound shorter": Recipe(sound=0.4),
    "moov first": Recipe(movflags="faststart"),
    "mov": Recipe(format="mov"),
    "fragmented": Recipe(frames=50, sound=1.5, movflags="frag_keyframe+empty_moov"),
    "fragmented, first part in moov": Recipe(frames=50, movflags="frag_keyframe"),
    "fragmented, indexed": Recipe(frames=50, movflags="dash+global_sidx"),
    "starts late": Recipe(start=240, sound=1.0),
    "one picture": Recipe(frames=1),
    "two pictures": Recipe(frames=2),
    "30 a second": Recipe(frames=31, rate=Fraction(30)),
    "variable rate": Recipe(
        time_base=Fraction(1, 1000), ticks=[n * 41 + n % 3 * 7 for n in range(24)]
    ),
    "sliced": Recipe(x264={"slices": "4"}),
    "interlaced": Recipe(height=96, x264={"x264-params": "interlaced=1"}),
    "HEVC": Recipe(frames=30, codec="libx265", x264=HEVC),
}
SEVERAL = {"pyramid", "ends on a B-frame", "open GOP", "fragmented", "one picture", "HEVC"}


@functools.cache
def clip(name: str) -> bytes:
    """Make one of the awkward clips, once."""
    return make_clip(AWKWARD[name])


def code_of(still: Still) -> tuple[int, int]:
    """Read (clip, number) out of a still."""
    picture = Image.open(io.BytesIO(still.data)).convert("L")
    return decode_bars(picture.tobytes(), picture.width, (0, 0, *picture.size))


@pytest.mark.parametrize("name", rest_is_slow(AWKWARD, *SEVERAL))
def test_the_last_picture_is_the_last_one(name: str) -> None:
    """The still is, pixel by pixel, the decoded picture with the newest time stamp."""
    with av.open(io.BytesIO(clip(name))) as film:
        newest = max(film.decode(video=0), key=lambda frame: frame.pts or 0)
        assert read_code(newest) == (0, AWKWARD[name].frames - 1)
        expected = encode_still(newest)
    assert last_frame(io.BytesIO(clip(name))) == expected
    assert expected.media_type == "image/png"


@pytest.mark.parametrize("name", rest_is_slow(AWKWARD, *SEVERAL))
def test_the_first_picture_is_the_first_one(name: str) -> None:
    """The first still carries number 0."""
    assert code_of(first_frame(io.BytesIO(clip(name)))) == (0, 0)


@pytest.mark.parametrize("shown", [1, 2, 3, 8, 9, 10, 11, 12, 13, 22, 23])
def test_pictures_hidden_at_the_end_do_not_count(shown: int) -> None:
    """Of a clip trimmed by its edit list the last picture shown is taken."""
    trimmed = io.BytesIO(
        patch(clip("plain"), "moov/trak/edts/elst", 8, struct.pack(">I", shown * 1000 // 24))
    )
    assert code_of(first_frame(trimmed)) == (0, 0)
    assert code_of(last_frame(trimmed)) == (0, shown - 1)


def test_pictures_hidden_at_the_start_do_not_count() -> None:
    """Of a clip whose edit list starts at its seventh picture, that one is the first."""
    trimmed = io.BytesIO(
        patch(clip("plain"), "moov/trak/edts/elst", 12, struct.pack(">I", 1024 + 6 * 512))
    )
    assert code_of(first_frame(trimmed)) == (0, 6)
    assert code_of(last_frame(trimmed)) == (0, 23)


def test_only_the_end_of_a_clip_is_read() -> None:
    """For the last picture the media before the last key frame stays untouched."""
    data = make_clip(Recipe(frames=96, width=320, height=180, x264={"crf": "5"}))
    file = Watched(data)
    assert code_of(last_frame(file)) == (0, 95)
    assert file.taken < len(data) * 0.6


def test_any_source_will_do(tmp_path: Path) -> None:
    """A path, an open and a spooled file give the same still, and files stay open."""
    path = tmp_path / "a clip: 100%d.mp4"
    path.write_bytes(clip("plain"))
    expected = last_frame(path)
    with path.open("rb") as file, SpooledTemporaryFile(max_size=1 << 20) as spool:
        file.seek(5)
        spool.write(clip("plain"))
        assert last_frame(file) == last_frame(spool) == expected
        assert last_frame(file) == expected
        assert not file.closed


@pytest.mark.parametrize("name", ["plain", "moov first", "sound longer", "one picture"])
def test_a_cut_clip_has_no_last_picture(name: str) -> None:
    """A cut file is refused rather than giving the wrong picture."""
    dice = random.Random(name)
    for cut in [dice.randrange(len(clip(name))) for _ in range(20)]:
        with pytest.raises(NotAVideo):
            last_frame(io.BytesIO(clip(name)[:cut]))


def test_whole_boxes_around_blank_media_are_refused() -> None:
    """Boxes cannot show that the media is gone; decoding the first picture does."""
    blank = io.BytesIO(blank_media(clip("plain")))
    assert read_facts(blank).frames == 24
    for look in (first_frame, last_frame):
        with pytest.raises(NotAVideo, match="decoded"):
            look(blank)
    oddities(io.BytesIO(clip("plain")))


@pytest.mark.parametrize("name", ["plain", "one GOP", "HEVC"])
def test_a_damaged_end_is_refused(name: str) -> None:
    """If the last picture does not come out, none before it is passed off as the last."""
    damaged = io.BytesIO(blank_media(clip(name), first=0.9))
    oddities(damaged)
    with pytest.raises(NotAVideo, match="decoded"):
        last_frame(damaged)


@pytest.mark.parametrize("seed", range(4))
def test_a_last_picture_with_damaged_bytes_is_refused(seed: int) -> None:
    """A picture that the decoder had to patch up is not handed over."""
    data = make_clip(Recipe(x264={"preset": "fast"}))
    with av.open(io.BytesIO(data)) as film:
        packets = [packet for packet in film.demux(video=0) if packet.pts is not None]
        last = max(packets, key=lambda packet: packet.pts)
        at, size = last.pos + 20, last.size - 60
    damaged = data[:at] + random.Random(seed).randbytes(size) + data[at + size :]
    with pytest.raises(NotAVideo, match="decoded"):
        last_frame(io.BytesIO(damaged))


def test_sound_alone_has_no_picture() -> None:
    """A playlist or a sound file is refused before any decoder sees it."""
    for data in (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ID3" + bytes(200)):
        with pytest.raises(NotAVideo):
            first_frame(io.BytesIO(data))


def test_a_missing_path_is_no_video_error(tmp_path: Path) -> None:
    """That a path does not exist is the caller's matter and stays a FileNotFoundError."""
    with pytest.raises(FileNotFoundError):
        last_frame(tmp_path / "nothing.mp4")


RED = (200, 30, 60)
BT601, BT709 = (0.299, 0.114), (0.2126, 0.0722)


def flat(
    weights: tuple[float, float], tag: int, size: tuple[int, int], *, full: bool
) -> av.VideoFrame:
    """Make a picture of one red, in the given matrix and range."""
    kr, kb = weights
    r, g, b = RED
    y = kr * r + (1 - kr - kb) * g + kb * b
    u, v = (b - y) / (2 * (1 - kb)), (r - y) / (2 * (1 - kr))
    values = (
        (y, 128 + u, 128 + v)
        if full
        else (16 + 219 / 255 * y, 128 + 224 / 255 * u, 128 + 224 / 255 * v)
    )
    frame = av.VideoFrame(*size, "yuv420p")
    for plane, value in zip(frame.planes, values, strict=True):
        plane.update(bytes([round(value)]) * plane.buffer_size)
    frame.colorspace, frame.color_range = tag, 2 if full else 1
    return frame


@pytest.mark.parametrize(
    ("weights", "tag", "size", "full"),
    [
        pytest.param(BT709, 1, (320, 180), False, id="tagged bt709"),
        pytest.param(BT601, 6, (1280, 720), False, id="tagged bt601"),
        pytest.param(BT709, 2, (1280, 720), False, id="untagged HD"),
        pytest.param(BT709, 2, (720, 1280), False, id="untagged HD upright"),
        pytest.param(BT601, 2, (320, 180), False, id="untagged SD"),
        pytest.param(BT709, 1, (320, 180), True, id="full range"),
    ],
)
def test_a_still_has_the_colours_a_player_shows(
    weights: tuple[float, float], tag: int, size: tuple[int, int], full: bool
) -> None:
    """Whatever the matrix and range of a film, its red comes out as that red, tagged or not."""
    still = Image.open(io.BytesIO(encode_still(flat(weights, tag, size, full=full)).data))
    assert still.mode == "RGB"
    assert still.size == size
    assert all(
        abs(got - wanted) <= 2 for got, wanted in zip(still.getpixel((9, 9)), RED, strict=True)
    )


@pytest.mark.parametrize("level", [16, 17, 60, 126, 200, 234, 235])
def test_greys_are_handed_over_exactly(level: int) -> None:
    """No brightness is lost from picture to still; over a chain errors would add up."""
    frame = av.VideoFrame(64, 48, "yuv420p")
    for plane, value in zip(frame.planes, (level, 128, 128), strict=True):
        plane.update(bytes([value]) * plane.buffer_size)
    red, green, blue = Image.open(io.BytesIO(encode_still(frame).data)).getpixel((20, 20))
    assert red == green == blue
    assert abs(red - (level - 16) * 255 / 219) <= 0.6


@pytest.mark.slow
def test_a_picture_too_large_as_png_becomes_a_jpeg() -> None:
    """4K noise still fits the API's limit, in its full size and its colours."""
    frame = flat(BT709, 1, (3840, 2160), full=False)
    level = bytes(frame.planes[0])[0]
    noise = bytes(level + (value - 128) // 4 for value in range(256))
    frame.planes[0].update(random.Random(1).randbytes(frame.planes[0].buffer_size).translate(noise))
    still = encode_still(frame)
    picture = Image.open(io.BytesIO(still.data))
    assert (still.media_type, picture.format, picture.size) == ("image/jpeg", "JPEG", (3840, 2160))
    assert STILL_LIMIT / 4 < len(still.data) <= STILL_LIMIT
    mean = picture.reduce(120).resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    assert all(abs(got - wanted) <= 3 for got, wanted in zip(mean, RED, strict=True)), mean


def test_a_still_is_the_same_every_time() -> None:
    """Two calls give the same bytes."""
    assert last_frame(io.BytesIO(clip("plain"))) == last_frame(io.BytesIO(clip("plain")))
