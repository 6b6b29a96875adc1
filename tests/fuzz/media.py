"""Mutated videos and pictures, read as they are read before and after paying."""

import random
import struct
from importlib.resources import files
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_kling.studio.errors import InputUnusable, NotAVideo
from prefect_kling.studio.film.uploads import input_path
from prefect_kling.studio.media.frames import first_frame, last_frame
from prefect_kling.studio.media.oddities import oddities
from prefect_kling.studio.media.picture_checks import Expected, PictureChecks, check_pictures
from prefect_kling.studio.media.probe import inspect
from tests.fuzz.report import Report

EXAMPLES = files("prefect_kling.examples")
VIDEO = (EXAMPLES / "videos" / "rehearsal.mp4").read_bytes()
PICTURE = (EXAMPLES / "pictures" / "bottle.jpg").read_bytes()
NUMBERS = [0, 1, 7, 8, 255, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
BOXES = [
    b"moov",
    b"trak",
    b"mdat",
    b"stsz",
    b"stco",
    b"elst",
    b"free",
    b"uuid",
    b"ftyp",
    b"\xa9nam",
]


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return a file of which some places hold other numbers, other boxes, or nothing."""
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at = chance.randrange(max(1, len(data) - 8))
        kind = chance.randrange(6)
        if kind == 0:
            data[at : at + 4] = struct.pack(">I", chance.choice(NUMBERS))
        elif kind == 1:
            data[at : at + 4] = chance.choice(BOXES)
        elif kind == 2:
            del data[at : at + chance.choice([1, 4, 100, 10_000])]
        elif kind == 3:
            data[at:at] = data[at : at + chance.choice([4, 100, 10_000])]
        elif kind == 4:
            data[at] ^= 1 << chance.randrange(8)
        else:
            data[at:at] = chance.randbytes(chance.choice([1, 8, 64]))
    if chance.random() < 0.1:
        del data[chance.randrange(len(data)) :]
    return bytes(data)


def fuzz_videos(cases: int, first_seed: int = 0) -> Report:
    """Read so many mutated videos; what is no video is told as such."""
    report = Report("videos")
    head = len(VIDEO)
    for seed in range(first_seed, first_seed + cases):
        chance = random.Random(seed)
        content = mutated(VIDEO[:head], chance)
        with report.case(str(seed)):
            try:
                facts, _ = inspect(BytesIO(content))
                expected = Expected(seconds=facts.seconds, sound=True)
                check_pictures(BytesIO(content), expected, PictureChecks())
                oddities(BytesIO(content))
                first_frame(BytesIO(content))
                last_frame(BytesIO(content))
            except NotAVideo as error:
                str(error).encode()
    return report


def fuzz_pictures(cases: int, first_seed: int = 0) -> Report:
    """Check so many mutated pictures as inputs of a request."""
    report = Report("pictures")
    with TemporaryDirectory() as disk:
        path = Path(disk) / "picture.jpg"
        for seed in range(first_seed, first_seed + cases):
            path.write_bytes(mutated(PICTURE, random.Random(seed)))
            with report.case(str(seed)):
                try:
                    input_path(path, is_video=False)
                except InputUnusable as error:
                    str(error).encode()
    return report
