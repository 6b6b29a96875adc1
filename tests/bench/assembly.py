"""What joining a film costs beside ffmpeg: `python -m tests.bench.assembly [CLIPS]`.

Clips of 5 s at 1080p, 8 Mbit/s, with sound. Each piece of work is done in a process of its own,
ours and ffmpeg's in turns, and the better of two runs counts: other work on the machine only adds.
"""

import json
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from prefect_kling.studio.media.contact_sheet import Caption, contact_sheet
from prefect_kling.studio.media.cut_point import find_cut_point
from prefect_kling.studio.media.join import Chapter, Part, join
from tests.bench.contest import markdown

CLIPS = 60
SECONDS = 5
DIFFERENT = 4
ROUNDS = 2
HEADINGS = ("work", "CPU", "ffmpeg's", "ratio", "wall", "ffmpeg's", "ratio", "our peak")
HANDED_OVER = 0.5
"""The last seconds of a clip among which the sharpest picture is looked for."""
WORKS = {
    "join": "join, pictures copied, sound encoded once",
    "sheet": "contact sheet",
    "handover": "hand-over of each clip: its sharpest picture",
}
Row = tuple[str, ...]


@dataclass(frozen=True)
class Spent:
    """What a piece of work took."""

    cpu: float
    wall: float
    peak_mb: int


def measure(count: int = CLIPS) -> list[Row]:
    """Return a row for each piece of work; none where ffmpeg is not installed."""
    ffmpeg = shutil.which("ffmpeg")
    rows: list[Row] = []
    if ffmpeg is None:
        return rows
    with TemporaryDirectory() as disk:
        folder = Path(disk)
        _make_clips(folder, ffmpeg)
        for work, name in WORKS.items():
            ours: list[Spent] = []
            theirs: list[Spent] = []
            for _ in range(ROUNDS):
                ours.append(_ours(work, folder, count))
                theirs.append(_spent(_their_words(work, ffmpeg, folder, count)))
            rows.append(_row(name, min(ours, key=_cpu), min(theirs, key=_cpu)))
    return rows


def _cpu(spent: Spent) -> float:
    return spent.cpu


def _row(name: str, ours: Spent, theirs: Spent) -> Row:
    cells = [name, f"{ours.cpu:.1f} s", f"{theirs.cpu:.1f} s", f"{ours.cpu / theirs.cpu:.2f}"]
    cells += [f"{ours.wall:.1f} s", f"{theirs.wall:.1f} s", f"{ours.wall / theirs.wall:.2f}"]
    return (*cells, f"{ours.peak_mb} MB")


def _make_clips(folder: Path, ffmpeg: str) -> None:
    """Make a few different clips; a film repeats them."""
    for number in range(DIFFERENT):
        picture = "testsrc2=size=1920x1080:rate=24,noise=alls=20:allf=t"
        tone = f"sine=frequency={440 * (number + 1)}:sample_rate=44100"
        video = "-c:v libx264 -preset veryfast -b:v 8M -maxrate 8M -bufsize 8M -pix_fmt yuv420p"
        words = [ffmpeg, "-v", "error", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", tone]
        words += ["-t", str(SECONDS), *video.split(), "-g", "48", "-c:a", "aac", "-ac", "2"]
        subprocess.run([*words, str(_clip(folder, number))], check=True)


def _clip(folder: Path, number: int) -> Path:
    return folder / f"{number % DIFFERENT}.mp4"


def _ours(work: str, folder: Path, count: int) -> Spent:
    """Do a piece of our work in a process of its own, which measures it without its imports."""
    words = [sys.executable, "-m", "tests.bench.assembly", work, str(folder), str(count)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    return Spent(**json.loads(done.stdout))


def _spent(commands: Sequence[Sequence[str]]) -> Spent:
    """Run commands, one after the other, and return what they took together."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    for words in commands:
        subprocess.run(words, check=True)
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(cpu, wall, 0)


def _their_words(work: str, ffmpeg: str, folder: Path, count: int) -> list[list[str]]:
    """Return the ffmpeg commands that give the same: these pictures, this sound, this many."""
    quiet = [ffmpeg, "-v", "error", "-y"]
    if work == "join":
        names = folder / "clips.txt"
        names.write_text("".join(f"file '{_clip(folder, each)}'\n" for each in range(count)))
        kept = "-c:v copy -c:a aac -b:a 192k -ar 48000 -ac 2 -movflags +faststart"
        words = ["-f", "concat", "-safe", "0", "-i", str(names), *kept.split()]
        return [[*quiet, *words, str(folder / "theirs.mp4")]]
    if work == "sheet":
        words = []
        for number in range(count):
            moment = f"{(number + 0.5) * SECONDS:.3f}"
            words += ["-ss", moment, "-t", "0.04", "-i", str(folder / "ours.mp4")]
        small = "".join(f"[{each}:v]scale=320:-2[v{each}];" for each in range(count))
        every = "".join(f"[v{each}]" for each in range(count))
        graph = f"{small}{every}concat=n={count}:v=1,tile=8x{-(-count // 8)}"
        words += ["-filter_complex", graph, "-frames:v", "1", str(folder / "theirs.jpg")]
        return [[*quiet, *words]]
    commands = []
    for number in range(count):
        words = ["-sseof", f"-{HANDED_OVER}", "-i", str(_clip(folder, number))]
        words += ["-vf", f"siti,thumbnail=n={round(24 * HANDED_OVER)}", "-frames:v", "1"]
        commands.append([*quiet, *words, str(folder / "theirs.png")])
    return commands


def _do(work: str, folder: Path, count: int) -> Spent:
    cpu = time.process_time()
    wall = time.perf_counter()
    clips = [_clip(folder, number) for number in range(count)]
    film = folder / "ours.mp4"
    if work == "join":
        join([Part(clip, [Chapter(clip.stem)]) for clip in clips], film)
    elif work == "sheet":
        shots = [Caption(number * SECONDS, SECONDS, f"{number}") for number in range(count)]
        (folder / "ours.jpg").write_bytes(contact_sheet(film, shots, "A film", "its price"))
    else:
        for clip in clips:
            (folder / "ours.png").write_bytes(find_cut_point(clip).still.data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return Spent(time.process_time() - cpu, time.perf_counter() - wall, peak)


if __name__ == "__main__":
    if len(sys.argv) == 4:
        print(json.dumps(vars(_do(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))))
    else:
        print("\n".join(markdown(HEADINGS, measure(int((sys.argv[1:] or [CLIPS])[0])))))
