"""Progress of shots: published to whoever subscribed, and logged with how long each shot took."""

from decimal import Decimal

import pytest

from prefect_kling.kling.errors import JobFailed
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.telemetry.progress import (
    ProgressLog,
    ProgressPublisher,
    ShotProgress,
    Stage,
    subscribe,
    tallied,
)

WAITING = ShotProgress(shot="1.1", stage=Stage.WAITING)
SUBMITTING = ShotProgress(shot="1.1", stage=Stage.SUBMITTING)
DONE = ShotProgress(shot="1.1", stage=Stage.DONE)
KEY = "0123456789abcdef0123456789abcdef"


def test_a_run_publishes_to_its_own_subscriber_and_to_those_of_the_process() -> None:
    """Subscribers of the process get the progress of all runs; a run's own only that of its run."""
    own: list[ShotProgress] = []
    of_process: list[ShotProgress] = []
    run = ProgressPublisher(own.append)
    other_run = ProgressPublisher()
    with subscribe(of_process.append):
        run.publish(WAITING)
        other_run.publish(DONE)
    run.publish(DONE)
    assert own == [WAITING, DONE]
    assert of_process == [WAITING, DONE]


def test_a_subscription_ends_with_its_block() -> None:
    """Also when the block fails, and although the same subscriber is still subscribed elsewhere."""
    seen: list[ShotProgress] = []
    with subscribe(seen.append):
        with pytest.raises(RuntimeError), subscribe(seen.append):
            raise RuntimeError
        ProgressPublisher().publish(WAITING)
    ProgressPublisher().publish(DONE)
    assert seen == [WAITING]


def test_a_log_keeps_the_latest_progress_in_the_order_of_the_shots() -> None:
    """A shot stays where it was first seen."""
    log = ProgressLog()
    for shot in ("1.1", "1.2"):
        log.record(ShotProgress(shot=shot, stage=Stage.WAITING, usd=Decimal(1)))
    log.record(DONE)
    assert [(each.shot, each.stage) for each in log] == [
        ("1.1", Stage.DONE),
        ("1.2", Stage.WAITING),
    ]
    assert (len(log), log.count(Stage.DONE)) == (2, 1)


@pytest.mark.parametrize("end", [Stage.DONE, Stage.FAILED, Stage.HELD, Stage.INTERRUPTED])
def test_a_shot_takes_the_time_from_its_first_submission_to_its_end(end: Stage) -> None:
    """Waiting does not count, a second attempt does; after the end the time stands still."""
    now = 0.0
    log = ProgressLog(clock=lambda: now)
    log.record(WAITING)
    now = 5.0
    assert log.seconds("1.1") is None
    now = 10.0
    log.record(SUBMITTING)
    now = 15.0
    log.record(SUBMITTING)
    now = 18.0
    assert log.seconds("1.1") == 8.0
    now = 20.0
    log.record(ShotProgress(shot="1.1", stage=end))
    now = 99.0
    assert log.seconds("1.1") == 10.0


@pytest.mark.parametrize(
    ("error", "stage", "told"),
    [
        (ClipHeld("no answer came", clip_key=KEY), Stage.HELD, f"no answer came (clip {KEY})"),
        (JobFailed("it failed", fail_code="X"), Stage.FAILED, "it failed"),
        (ValueError("odd"), Stage.FAILED, "ValueError: odd"),
    ],
)
def test_a_shot_that_an_error_ends_is_held_or_failed(
    error: Exception, stage: Stage, told: str
) -> None:
    """With what happened, and without what to do about it, which the end of the run says once."""
    progress = ShotProgress.of_error("1.1", error)
    assert (progress.stage, progress.detail) == (stage, told)


def test_a_shot_that_failed_first_and_is_there_in_the_end_has_not_failed() -> None:
    """As where a further take fails, and the first is used."""
    run = ProgressPublisher()
    with tallied() as tally:
        for stage in (Stage.DONE, Stage.FAILED):
            run.publish(ShotProgress(shot="1.1", stage=stage))
        run.publish(ShotProgress(shot="1.2", stage=Stage.HELD))
        assert (tally.made, tally.failed_shots) == (1, ["1.1", "1.2"])
        run.publish(ShotProgress(shot="1.1", stage=Stage.DONE, reused=True))
    assert (tally.made, tally.failed, tally.failed_shots) == (1, 1, ["1.2"])


def test_a_shot_that_was_archived_before_took_no_time() -> None:
    """It was never submitted."""
    log = ProgressLog()
    log.record(DONE)
    assert log.seconds("1.1") is None
