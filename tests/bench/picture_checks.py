"""What picture checks find: `python -m tests.bench.picture_checks`; writes docs/picture-checks.md.

Clips with each fault, clips that nearly have it, and clean ones are made and checked. Then 720p
clips of 5 s are, and what that costs is set beside their decoding. Takes some minutes.
"""

import base64
import io
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from av.video.frame import VideoFrame

from prefect_kling.studio.media.frames import open_film
from prefect_kling.studio.media.picture_checks import (
    Expected,
    PictureChecks,
    PictureReport,
    Rule,
    check_pictures,
    distance,
)
from prefect_kling.studio.media.probe import inspect
from tests.studio.media.suspect_clips import (
    CASES,
    Case,
    jpeg,
    painted,
    pan,
    source,
    still_of,
    write,
)

PAGE = Path(__file__).parents[2] / "docs" / "picture-checks.md"
HD = (1280, 720)
TIMES = 3
CHECKS = PictureChecks()


@dataclass(frozen=True)
class Told:
    """What the checks said of the clip of a case."""

    case: Case
    rules: tuple[str, ...]
    milliseconds: float

    @property
    def missed(self) -> set[str]:
        """The rules it breaks that were not told."""
        return {str(rule) for rule in self.case.breaks} - set(self.rules)

    @property
    def false(self) -> set[str]:
        """The rules that were told and that it does not break."""
        return set(self.rules) - {str(rule) for rule in self.case.breaks}


def check(case: Case, clip: bytes) -> tuple[PictureReport, float]:
    """Check a clip; return the report and the processor time in milliseconds."""
    file = io.BytesIO(clip)
    expected = Expected(
        seconds=inspect(file)[0].seconds,
        sound=case.sound_ordered,
        cuts=case.cuts_ordered,
        first_frame=case.first_frame,
    )
    begun = time.process_time()
    report = check_pictures(file, expected, CHECKS)
    return report, 1000 * (time.process_time() - begun)


def tell_all() -> list[Told]:
    """Make and check the clips of all cases."""
    clips: dict[str, bytes] = {}
    fingerprints: dict[str, bytes] = {}
    told = []
    for name, case in CASES.items():
        clips[name] = clips.get(case.copies) or write(case)
        report, milliseconds = check(case, clips[name])
        fingerprints[name] = base64.b64decode(report.fingerprint)
        rules = [suspicion.rule for suspicion in report.suspicions]
        if case.like:
            levels = distance(fingerprints[name], fingerprints[case.like])
            if levels <= CHECKS.duplicate_levels:
                rules.append(Rule.DUPLICATE)
        told.append(Told(case, tuple(rules), milliseconds))
        print(f"{name}: {', '.join(rules) or '-'}", flush=True)
    return told


def decode(clip: bytes, *, whole: bool) -> float:
    """Decode pictures and sound; return the processor time in milliseconds.

    Without `whole`, the pictures that no other depends on are skipped, as the checks do.
    """
    begun = time.process_time()
    with open_film(io.BytesIO(clip)) as (film, video):
        if not whole:
            video.codec_context.skip_frame = "NONREF"
        for packet in film.demux():
            for frame in packet.decode():
                assert frame is not None
                if isinstance(frame, VideoFrame):
                    continue
    return 1000 * (time.process_time() - begun)


def costs() -> list[list[str]]:
    """Return what checking clips of 720p costs, beside decoding them."""
    ordered = jpeg(still_of("bottle-table", HD))
    cases = {
        "a moving picture, sound, first picture": Case(
            "hd", pictures=pan("bottle-table", 40.0), sound="sine=r=48000", first_frame=ordered
        ),
        "libavfilter's test picture, sound": Case(
            "hd", pictures=source("testsrc2=s={size}:r=24"), sound="sine=r=48000"
        ),
        "a clip of the sandbox, sound": Case("hd", pictures=painted(), sound="sine=r=48000"),
    }
    rows = []
    for name, case in cases.items():
        ordered_sound = replace(case, sound_ordered=True)
        clip = write(ordered_sound, HD)
        whole = min(decode(clip, whole=True) for _ in range(TIMES))
        sampled = min(decode(clip, whole=False) for _ in range(TIMES))
        checked = min(check(ordered_sound, clip)[1] for _ in range(TIMES))
        beyond = checked - sampled
        rows.append([name, *(f"{ms:.0f} ms" for ms in (whole, sampled, checked, beyond))])
        print(*rows[-1], flush=True)
    return rows


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


def summary(told: Sequence[Told]) -> str:
    """Return how often each rule was told rightly, not told, and told wrongly."""
    rows = []
    for rule in Rule:
        faults = [each for each in told if rule in each.case.breaks]
        found = [each for each in faults if rule in each.rules]
        others = [each for each in told if rule not in each.case.breaks]
        false = [each for each in others if rule in each.rules]
        figures = (len(faults), len(found), len(faults) - len(found), len(others), len(false))
        rows.append([rule.value, *map(str, figures)])
    headings = ("rule", "clips with the fault", "found", "missed", "clips without", "false alarms")
    return table(headings, rows)


def details(told: Sequence[Told]) -> str:
    """Return what was said of each clip."""
    rows = []
    for each in told:
        case = each.case
        is_what = "clean"
        if case.near:
            is_what = f"nearly {case.near}"
        if case.breaks:
            is_what = ", ".join(case.breaks)
        verdict = ""
        if each.missed:
            verdict = f"**missed**: {', '.join(sorted(each.missed))}"
        if each.false:
            verdict = f"**false alarm**: {', '.join(sorted(each.false))}"
        rows.append(
            [case.name, is_what, ", ".join(each.rules), verdict, f"{each.milliseconds:.0f} ms"]
        )
    return table(("clip", "it is", "told", "", "CPU with decoding"), rows)


def put(page: str, name: str, text: str) -> str:
    """Replace what stands between two comments of a page."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
    assert re.search(pattern, page, re.DOTALL), name
    return re.sub(pattern, lambda found: f"{found[1]}\n{text}\n\n{found[2]}", page, flags=re.DOTALL)


def main() -> None:
    """Measure, print, and write the page."""
    told = tell_all()
    cost = table(
        (
            "clip of 5 s, 1280x720",
            "decoding all of it",
            "decoding what is checked",
            "check",
            "beyond",
        ),
        costs(),
    )
    counts = (
        f"{len(told)} clips; {sum(bool(each.case.breaks) for each in told)} have a fault, "
        f"{sum(bool(each.case.near) for each in told)} nearly have one."
    )
    page = PAGE.read_text()
    page = put(page, "summary", f"{counts}\n\n{summary(told)}")
    page = put(page, "cost", cost)
    page = put(page, "clips", details(told))
    PAGE.write_text(page)
    print(summary(told))


if __name__ == "__main__":
    main()
