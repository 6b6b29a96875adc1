"""What is suspicious about a clip is told with its rule; what only looks like it is not."""

import base64
import io
from dataclasses import replace
from functools import lru_cache

import pytest

from prefect_kling.studio.errors import NotAVideo
from prefect_kling.studio.media import picture_checks
from prefect_kling.studio.media.picture_checks import (
    Expected,
    PictureChecks,
    PictureReport,
    Rule,
    Suspicion,
    check_pictures,
    distance,
)
from prefect_kling.studio.media.probe import inspect
from tests.lane import rest_is_slow
from tests.studio.media.clips import Recipe, blank_media, make_clip
from tests.studio.media.odd_clips import odd_clips
from tests.studio.media.suspect_clips import CASES, Case, write

SMALL = {(320, 180): (160, 90), (180, 320): (90, 160), (240, 240): (96, 96), (256, 144): (128, 72)}
FAULTS = [
    "black for 1.2 s in the middle",
    "black for the last 2 s",
    "frozen from 2 s on",
    "frozen, upright",
    "digital silence",
    "no sound track",
    "a hushed tone",
    "an overdriven tone",
    "a cut to another picture",
    "a cut near the end",
    "begins with another picture",
]
NEAR = [
    "a fade to black of 0.8 s",
    "black for 0.2 s",
    "frozen for 1 s",
    "a slow camera",
    "one short tone in silence",
    "silence as ordered",
    "a cut that was ordered",
    "a flash",
    "strobe light",
    "lightning",
    "begins as ordered",
    "a tenth closer",
]
CLEAN = [
    "a moving picture, upright",
    "the sandbox",
    "the sandbox, several shots",
    "the sandbox, from a picture",
]


@lru_cache(maxsize=16)
def clip_of(name: str) -> bytes:
    """The small clip of a case."""
    case = CASES[name]
    return write(case, SMALL[case.size])


def check(
    clip: bytes, case: Case | None = None, checks: PictureChecks | None = None
) -> PictureReport:
    """Check a clip as its case was ordered."""
    expected = Expected(seconds=inspect(io.BytesIO(clip))[0].seconds)
    if case is not None:
        expected = replace(
            expected,
            sound=case.sound_ordered,
            cuts=case.cuts_ordered,
            first_frame=case.first_frame,
        )
    return check_pictures(io.BytesIO(clip), expected, checks or PictureChecks())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_by_its_rule(name: str) -> None:
    """One sentence for each; the measured value lies beyond the threshold that stands beside it."""
    (found,) = check(clip_of(name), CASES[name]).suspicions
    assert (found.rule,) == CASES[name].breaks
    assert str(found)
    if found.rule in (Rule.SILENT, Rule.QUIET):
        assert found.measured < found.threshold
    else:
        assert found.measured >= found.threshold


@pytest.mark.parametrize(
    "name",
    rest_is_slow([*NEAR, *CLEAN], "a fade to black of 0.8 s", "a slow camera", "the sandbox"),
)
def test_what_only_looks_like_a_fault_is_not_told(name: str) -> None:
    """Fades, flashes, slow cameras, short sounds, cuts that were ordered, and clean clips."""
    assert check(clip_of(name), CASES[name]).suspicions == ()


def test_the_moment_of_a_fault_is_told() -> None:
    """To two or three pictures, because half of them are skipped."""
    (black,) = check(
        clip_of("black for 1.2 s in the middle"), Case("", cuts_ordered=True)
    ).suspicions
    assert black.at == pytest.approx(2.0, abs=0.15)
    assert black.measured == pytest.approx(1.2, abs=0.15)
    (cut,) = check(clip_of("a cut to another picture")).suspicions
    assert cut.at == pytest.approx(2.5, abs=0.15)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("black for the last 2 s", {"black_seconds": 3}),
        ("black for the last 2 s", {"black_seconds": 0}),
        ("frozen from 2 s on", {"frozen_seconds": 4}),
        ("digital silence", {"silent_lufs": -70, "quiet_lufs": -70}),
        ("an overdriven tone", {"loud_lufs": 0}),
        ("a cut to another picture", {"cut_percent": 90}),
        ("begins with another picture", {"first_frame_percent": 0}),
    ],
)
def test_thresholds_decide(name: str, setting: dict[str, float]) -> None:
    """What is suspicious by default is not with another setting; 0 leaves a rule out."""
    told = check(clip_of(name), CASES[name], PictureChecks(**setting)).suspicions
    assert told == ()


@pytest.mark.slow
def test_fingerprints_are_close_for_the_same_pictures_alone() -> None:
    """Encoded anew they are; with something else in them, mirrored or recoloured they are not."""
    at_most = PictureChecks().duplicate_levels
    first = base64.b64decode(check(clip_of("the first one")).fingerprint)
    for name in ("encoded anew", "with other sound", "something else in it", "mirrored"):
        other = base64.b64decode(check(clip_of(name)).fingerprint)
        is_same = distance(first, other) <= at_most
        assert is_same == (Rule.DUPLICATE in CASES[name].breaks), name
    assert distance(first, b"") == distance(b"", b"") == 255


def test_odd_clips_are_checked_like_others() -> None:
    """Turned, mirrored, HDR, with pixels that are not square: none is in the way of a check."""
    for kind, clip in odd_clips(Recipe(frames=30)).items():
        assert check(clip).looked_at_seconds == pytest.approx(30 / 24, abs=0.05), kind


def test_a_clip_is_looked_at_up_to_a_number_of_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the report says how far that was."""
    monkeypatch.setattr(picture_checks, "MOST_PICTURES", 10)
    assert 0 < check(clip_of("the sandbox")).looked_at_seconds < 1.5


def test_what_cannot_be_decoded_is_no_video() -> None:
    """Whole boxes around blank media: for whoever keeps the clip to note."""
    with pytest.raises(NotAVideo):
        check(blank_media(make_clip(Recipe())))


def test_a_report_of_a_later_version_is_read() -> None:
    """A rule that is not known here is told by its name."""
    stored = '{"suspicions": [{"rule": "upside down", "measured": 3, "threshold": 1, "new": 1}]}'
    (found,) = PictureReport.model_validate_json(stored).suspicions
    assert found == Suspicion(rule="upside down", measured=3, threshold=1)
    assert str(found) == "upside down: 3"
