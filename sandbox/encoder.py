"""Writing an MP4 with the same settings for every clip, so that clips of one size can be joined."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

import av
from av.filter import Graph
from av.video.reformatter import ColorRange, Colorspace
from PIL import Image

from prefect_kling.sandbox.clip_request import FPS, Size

_BT709 = 1
_LIMITED_RANGE = 1
# x264 writes other bytes for every other number of threads.
_X264 = {"preset": "ultrafast", "crf": "20", "g": "48", "bf": "2", "threads": "1"}


def write_mp4(
    path: Path, size: Size, pictures: Iterable[Image.Image], sound: Iterable[av.AudioFrame] | None
) -> None:
    """Write pictures, 24 per second, and the sound beside them.

    An MP4 that was not finished, because `pictures` raised an error, stays at `path`.
    """
    # The muxer holds the sound, which is written first, until the pictures have caught up.
    options = {"movflags": "+faststart", "max_interleave_delta": "0"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = container.add_stream("libx264", FPS, options=_X264)
        video.width, video.height = size
        video.pix_fmt = "yuv420p"
        video.colorspace = _BT709
        video.color_primaries = _BT709
        video.color_trc = _BT709
        video.color_range = _LIMITED_RANGE

        if sound is not None:
            audio = container.add_stream("aac", 48_000, layout="stereo")
            for piece in sound:
                container.mux(audio.encode(piece))
            container.mux(audio.encode())

        for picture in pictures:
            frame = av.VideoFrame.from_image(picture)  # type: ignore[no-untyped-call]
            frame = frame.reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                threads=1,
            )
            container.mux(video.encode(frame))
        container.mux(video.encode())


def tone(prompt: str, seconds: int) -> Iterator[av.AudioFrame]:
    """Yield a soft tone whose pitch follows from the prompt."""
    pitch = 110 + hashlib.sha256(prompt.encode()).digest()[0]
    graph = Graph()
    source = graph.add("sine", f"frequency={pitch}:duration={seconds}")
    graph.link_nodes(source, graph.add("abuffersink")).configure()
    while True:
        try:
            yield cast(av.AudioFrame, graph.pull())
        except EOFError:
            return
