"""How a real account behaves, as far as free calls can tell: a report that can be sent to others.

The operator's page does not say when the price of a job is frozen, when it is charged, or whether
calls come. `ledger audit` rests on the first. The report holds no key, id, prompt, address of the
archive, or balance: only prices of known jobs, ages, and how the account changed between looks.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from prefect_kling.blocks import KlingCredentials
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.audit import take_reading
from prefect_kling.studio.money.books import JobReading, Reading

LOOKS = 4
SECONDS_BETWEEN = 15.0
API_CALL = "the API's own call"


class LiveJob(BaseModel):
    """One job of the ledger, without its name."""

    model_config = ConfigDict(frozen=True)

    age_seconds: float | None
    ended_seconds_ago: float | None
    listed_usd: Decimal | None
    is_running: bool
    charged_usd: Decimal | None


class Frozen(StrEnum):
    """What is frozen, beside the known running jobs."""

    RUNS_AND_FROZEN = "frozen is exactly the price of the known running jobs"
    RUNS_NOT_FROZEN = "known jobs run, and nothing is frozen"
    RUNS_OTHERWISE = "frozen is another sum than the price of the known running jobs"
    NOTHING_RUNS = "no known job runs"
    NOT_TOLD = "frozen is not told"


class LiveLook(BaseModel):
    """What the account said at one time, compared with the first look."""

    model_config = ConfigDict(frozen=True)

    seconds: float
    total_changed_usd: Decimal | None
    frozen_usd: Decimal | None
    frozen: Frozen
    sums_agree: bool
    was_steady: bool
    jobs: tuple[LiveJob, ...]


class LiveReport(BaseModel):
    """How `frozen`, `/records` and calls behave for one key."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    version: int = 1
    at: datetime
    api: str
    """The host of the API."""
    currency: str
    looks: tuple[LiveLook, ...]
    records_unsettled: int
    """Jobs that do not run and whose `/records` are missing or open."""
    records_off_table: int
    """Jobs that were charged neither nothing nor the table's price."""
    calls_are_asked_for: bool
    """Whether a receiver or a webhook is set."""
    jobs_named_by_calls: int
    """Clips whose job the API's own call has named; calls about known jobs leave no trace."""


async def live_report(
    credentials: KlingCredentials,
    archive: Archive,
    looks: int = LOOKS,
    seconds_between: float = SECONDS_BETWEEN,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> LiveReport:
    """Look at account and known jobs a few times. Free; changes and stores nothing.

    Most is learned while a job runs that was sent a moment ago.
    """
    readings: list[Reading] = []
    async with credentials.get_client() as client:
        for number in range(looks):
            if number > 0:
                await asyncio.sleep(seconds_between)
            reading, versions = await take_reading(archive, client, clock)
            readings.append(reading)
    last = readings[-1]
    ended = [job for job in last.jobs if not job.is_running]
    named_by_calls = 0
    for version in versions:
        if any(API_CALL in event.note for event in version.entry.history):
            named_by_calls += 1
    return LiveReport(
        at=readings[0].at,
        api=urlsplit(credentials.base_url).hostname or "",
        currency=last.currency,
        looks=tuple(_look(each, readings[0]) for each in readings),
        records_unsettled=sum(job.charged_usd is None for job in ended),
        records_off_table=sum(_is_off_table(job) for job in ended),
        calls_are_asked_for=credentials.callback is not None,
        jobs_named_by_calls=named_by_calls,
    )


def write_report(report: LiveReport, path: Path) -> None:
    """Write a report to a file, as JSON."""
    path.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _is_off_table(job: JobReading) -> bool:
    if not job.charged_usd or job.usd is None:
        return False
    return job.charged_usd != job.usd


def _look(reading: Reading, first: Reading) -> LiveLook:
    changed = None
    if reading.total is not None and first.total is not None:
        changed = reading.total - first.total
    # What ran at any time of this report, and the latest jobs: older ones say nothing new.
    recent = sorted(reading.jobs, key=_age(reading))[:20]
    return LiveLook(
        seconds=(reading.at - first.at).total_seconds(),
        total_changed_usd=changed,
        frozen_usd=reading.frozen,
        frozen=_frozen(reading),
        sums_agree=reading.is_whole,
        was_steady=reading.is_steady,
        jobs=tuple(_job(job, reading.at) for job in recent),
    )


def _age(reading: Reading) -> Callable[[JobReading], float]:
    def age(job: JobReading) -> float:
        seconds = _ago(job.sent_at, reading.at)
        if seconds is None:
            return float("inf")
        return seconds

    return age


def _frozen(reading: Reading) -> Frozen:
    if reading.frozen is None:
        return Frozen.NOT_TOLD
    if not reading.running:
        return Frozen.NOTHING_RUNS
    if reading.frozen == reading.running_usd:
        return Frozen.RUNS_AND_FROZEN
    if not reading.frozen:
        return Frozen.RUNS_NOT_FROZEN
    return Frozen.RUNS_OTHERWISE


def _job(job: JobReading, at: datetime) -> LiveJob:
    return LiveJob(
        age_seconds=_ago(job.sent_at, at),
        ended_seconds_ago=_ago(job.ended_at, at),
        listed_usd=job.usd,
        is_running=job.is_running,
        charged_usd=job.charged_usd,
    )


def _ago(then: datetime | None, at: datetime) -> float | None:
    if then is None:
        return None
    return round((at - then).total_seconds(), 1)
