"""What plays is described and noted, tidy MP4 or not; what is cut or damaged is refused."""

import io
import random

import av
import pytest

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media.frames import check_every_picture, last_frame
from prefect_kling.studio.media.probe import inspect, read_facts
from tests.studio.media.clips import Recipe, boxes, make_clip

WHOLE = make_clip(Recipe(frames=48, sound=2.0))
FRAGMENTED = make_clip(Recipe(frames=50, movflags="frag_keyframe+empty_moov"))
TAILS = [bytes(3), bytes(1024), b'{"label": "made by a model"}', b"\xff" * 100]


def webm() -> bytes:
    """Make a WebM file of 24 pictures."""
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as film:
        stream = film.add_stream("libvpx-vp9", rate=24)
        stream.width = 64
        stream.height = 48
        stream.pix_fmt = "yuv420p"
        for number in range(24):
            picture = av.VideoFrame(64, 48, "yuv420p")
            picture.pts = number
            film.mux(stream.encode(picture))
        film.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("tail", TAILS, ids=lambda tail: str(tail[:8]))
def test_bytes_behind_the_last_box_are_noted_and_change_nothing(tail: bytes) -> None:
    """All samples lie inside the file, so it plays, with the facts of the file without them."""
    facts, notes = inspect(io.BytesIO(WHOLE + tail))
    plain, none = inspect(io.BytesIO(WHOLE))
    assert none == ()
    assert notes == (f"{len(tail):,} bytes behind its last box are no part of the video",)
    assert facts == plain.model_copy(update={"bytes": len(WHOLE + tail)})
    assert last_frame(io.BytesIO(WHOLE + tail)) == last_frame(io.BytesIO(WHOLE))


def test_a_fragmented_file_that_ends_inside_a_fragment_is_cut() -> None:
    """There a tail may be the beginning of more pictures; zeros are not."""
    start = next(first for kind, first, _ in reversed(boxes(FRAGMENTED)) if kind == "moof")
    for cut in (start + 3, start + 8, start + 20):
        with pytest.raises(NotAVideo):
            inspect(io.BytesIO(FRAGMENTED[:cut]))
    assert inspect(io.BytesIO(FRAGMENTED + bytes(100)))[0].frames == 50


def test_a_webm_file_is_described_and_an_input_it_is_not() -> None:
    """A result may be WebM; the API takes no such input."""
    facts, notes = inspect(io.BytesIO(webm()))
    assert (facts.frames, facts.width, facts.height, facts.codec) == (24, 64, 48, "vp9")
    assert facts.seconds == pytest.approx(1.0, abs=0.05)
    assert notes == ("it is a WebM file, not an MP4",)
    check_every_picture(io.BytesIO(webm()))
    with pytest.raises(NotAVideo, match="WebM"):
        read_facts(io.BytesIO(webm()))


def test_a_webm_file_that_is_cut_is_refused_at_any_place() -> None:
    """Its segment says how long it is."""
    whole = webm()
    dice = random.Random(1)
    for cut in [dice.randrange(4, len(whole)) for _ in range(50)]:
        with pytest.raises(NotAVideo):
            inspect(io.BytesIO(whole[:cut]))


@pytest.mark.parametrize("seed", range(10))
def test_a_wrong_part_of_4_kib_is_found_by_decoding_everything(seed: int) -> None:
    """The first picture may be sound although the middle is not."""
    dice = random.Random(seed)
    media = make_clip(Recipe(frames=48, width=320, height=180, x264={"crf": "2"}))
    start = next(first for kind, first, _ in boxes(media) if kind == "mdat")
    at = dice.randrange(start + 4096, len(media) * 3 // 4)
    broken = media[:at] + dice.randbytes(4096) + media[at + 4096 :]
    check_every_picture(io.BytesIO(media))
    with pytest.raises(NotAVideo):
        check_every_picture(io.BytesIO(broken))
