"""A picture that is jumped to is the one that straight decoding shows at its moment."""

import io

import av
import pytest
from av.video.frame import VideoFrame

from prefect_kling.studio.media.moments import pictures_at
from tests.studio.media.clips import Recipe, Watched, make_clip

FRAMES = 120
MAKES = {
    "plain": Recipe(frames=FRAMES),
    "one GOP": Recipe(frames=FRAMES, gop=1000),
    "open GOP": Recipe(frames=FRAMES, x264={"x264-params": "open-gop=1"}),
    "rolling refresh": Recipe(frames=FRAMES, x264={"x264-params": "intra-refresh=1"}),
    "late": Recipe(frames=FRAMES, start=48),
    "WebM": Recipe(frames=FRAMES, codec="libvpx-vp9", format="webm", x264={"cpu-used": "8"}),
    "HEVC": Recipe(frames=FRAMES, codec="libx265", x264={"x265-params": "log-level=none"}),
}
MOMENTS = (0.0, 0.3, 0.35, 2.5, 2.52, 3.1, 4.9, 6.0)


def straight(data: bytes) -> list[VideoFrame]:
    """The same pictures by decoding all; of H.264, all on which others depend."""
    with av.open(io.BytesIO(data)) as film:
        video = film.streams.video[0]
        if video.codec_context.name == "h264":
            video.codec_context.skip_frame = "NONREF"
        frames = list(film.decode(video))
    begin = frames[0].time
    return [[frame for frame in frames if frame.time - begin <= moment][-1] for moment in MOMENTS]


def jumped(file: io.BytesIO) -> list[VideoFrame]:
    """What `pictures_at` gives."""
    with av.open(file) as film:
        return list(pictures_at(film, film.streams.video[0], MOMENTS))


@pytest.mark.parametrize("make", MAKES)
def test_a_picture_is_the_same_whether_it_is_jumped_to_or_not(make: str) -> None:
    """Bit by bit, whatever the film's key frames are like, also beyond its end."""
    data = make_clip(MAKES[make])
    expected = straight(data)
    found = jumped(io.BytesIO(data))
    assert [frame.pts for frame in found] == [frame.pts for frame in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.to_image(threads=1).tobytes() == other.to_image(threads=1).tobytes()


@pytest.mark.slow
def test_what_lies_between_is_not_read() -> None:
    """Of a film of eighty key frames, those that lead to three pictures."""
    data = make_clip(Recipe(frames=960, width=320, height=180, movflags="faststart"))
    file = Watched(data)
    with av.open(file, buffer_size=4096) as film:
        before = file.taken
        times = [frame.time for frame in pictures_at(film, film.streams.video[0], (9, 19, 29))]
    assert times == pytest.approx([9, 19, 29], abs=2 / 24)
    assert file.taken - before < len(data) / 8
