"""Clips whose answers are lost, judged by the account's books and compared with what was made.

A window is an archive of its own: a reading, some clips, a reading a day later by the clock that is
passed in. The API is a real sandbox over HTTP, whose account may misbehave. Nothing is painted.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.audit import Audit, act, audit
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import ReconcileSettings, reconcile
from prefect_kling.studio.money.submission import SubmitOptions, submit_once
from tests.kill.batch import DEADLY, kill_batch
from tests.kill.worker import Assignment, Place

BUCKET = "films"
WITNESS_SECONDS = 4
LATE_SECONDS = 1.0
A_DAY_LATER = timedelta(hours=25)
LOST_AFTER = {"on": "create", "do": {"drop": True}, "after_commit": True}
LOST_BEFORE = {"on": "create", "do": {"drop": True}}
TERMS = SubmitOptions(window=8.0, busy=60.0, look_again=0.1)


@dataclass(frozen=True)
class Scenario:
    """How the account behaves, and what happens between two readings."""

    name: str
    settings: dict[str, Any]
    topped_up: str = ""
    said: str | None = "0"
    """What the person says was put on the account."""
    foreign: bool = False
    is_killed: bool = False


SCENARIOS = (
    Scenario("as assumed", {}),
    Scenario("freezing late", {"freeze_after_seconds": LATE_SECONDS}),
    Scenario("booking only on completion", {"freezes": False}),
    Scenario("charging off the table", {"charge_percent": (100, 100, 50, 100, 200)}),
    Scenario("foreign jobs", {}, foreign=True),
    Scenario("a top-up, told", {}, topped_up="50", said="50"),
    Scenario("a top-up, denied", {}, topped_up="50", said="0"),
    Scenario("a top-up, not told of", {}, topped_up="0.1899", said=None),
    Scenario("kill -9 as well", {}, is_killed=True),
)


@dataclass
class Count:
    """What became of some windows' clips."""

    clips: int = 0
    held: int = 0
    held_and_paid: int = 0
    released: int = 0
    said_paid: int = 0
    said_paid_and_not: int = 0
    wrong: int = 0
    killed: int = 0

    def add(self, other: "Count") -> None:
        """Add another count."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def row(self) -> list[str]:
        """The figures for a table."""
        share = "0 %"
        if self.held:
            share = f"{100 * self.released / self.held:.0f} %"
        left = self.held - self.released
        figures = (self.clips, self.killed, self.held, self.held_and_paid, self.released)
        more = (left, self.said_paid, self.said_paid_and_not, self.wrong)
        return [*map(str, figures), share, *map(str, more)]


def sandbox_of(scenario: Scenario) -> Sandbox:
    """Return an API whose account behaves so."""
    return Sandbox(
        SandboxSettings(
            render_seconds=(0, 0), paints=False, balance_usd=1_000_000, **scenario.settings
        )
    )


def order(prompt: str) -> ClipOrder:
    """The shortest clip there is."""
    return ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))


async def send(prompt: str, client: KlingClient, archive: Archive) -> None:
    """Send one clip; it may be held."""
    try:
        await submit_once(order(prompt), client, archive, TERMS)
    except ClipHeld:
        return


def one_window(
    scenario: Scenario, sandbox: Sandbox, s3: LocalS3, clips: int, dice: random.Random
) -> Count:
    """Read, send, read a day later, decide, and count what was wrong."""
    prefix = f"books-{secrets.token_hex(6)}"
    place = Place(sandbox.base_url, sandbox.key, s3, BUCKET, prefix, Decimal(1_000_000))
    _wait_until(lambda: _nothing_runs(sandbox))
    return asyncio.run(_one_window(scenario, sandbox, place, clips, dice))


async def _one_window(
    scenario: Scenario, sandbox: Sandbox, place: Place, clips: int, dice: random.Random
) -> Count:
    archive = place.archive()
    prompts = [f"{place.prefix} clip {number}" for number in range(clips)]
    async with place.client(create_seconds=5.0) as client:
        await _send_witness(1, place, client, archive, scenario, dice)
        await audit(archive, client)
        exit_code = await _send_all(prompts, scenario, sandbox, place, client, archive, dice)
        if scenario.topped_up:
            sandbox.top_up(scenario.topped_up)
        if scenario.foreign and dice.random() < 0.5:
            sandbox.charge_elsewhere("0.1899")
        await asyncio.to_thread(_wait_until, lambda: _all_ended(sandbox, place.prefix))
        await _send_witness(2, place, client, archive, scenario, dice)
        said = None if scenario.said is None else Decimal(scenario.said)

        def tomorrow() -> datetime:
            return datetime.now(UTC) + A_DAY_LATER

        found = await audit(archive, client, said, tomorrow)
        await act(found.proven, found.reading, archive)
    jobs = {job["body"]["prompt"] for job in sandbox.jobs()}
    return _count(prompts, found, jobs, archive, killed=exit_code == -9)


async def _send_witness(
    number: int,
    place: Place,
    client: KlingClient,
    archive: Archive,
    scenario: Scenario,
    dice: random.Random,
) -> None:
    await send(f"{place.prefix} witness {number} [seconds:{WITNESS_SECONDS}]", client, archive)
    # By turns at once and late: before and after the money of late jobs shows.
    if "freeze_after_seconds" in scenario.settings and dice.random() < 0.5:
        await asyncio.sleep(1.2 * LATE_SECONDS)


async def _send_all(
    prompts: list[str],
    scenario: Scenario,
    sandbox: Sandbox,
    place: Place,
    client: KlingClient,
    archive: Archive,
    dice: random.Random,
) -> int | None:
    """Send all clips while one in five answers is lost, and one in five requests fails untaken."""
    if not scenario.is_killed:
        for prompt in prompts:
            _lose_something(sandbox, dice)
            await send(prompt, client, archive)
            sandbox.clear_faults()
        return None
    for _ in prompts:
        _lose_something(sandbox, dice)
    tasks = [Assignment(place, prompt, TERMS, create_seconds=3.0) for prompt in prompts]
    deadly = (dice.choice(DEADLY), dice.randint(1, len(prompts)))
    exit_code = await asyncio.to_thread(kill_batch, tasks, deadly)
    sandbox.clear_faults()
    # What the dead process has left is taken over, then all is sent again.
    await reconcile(archive, client, ReconcileSettings(window_seconds=0.0, confirm_seconds=0.0))
    for prompt in prompts:
        await send(prompt, client, archive)
    return exit_code


def _lose_something(sandbox: Sandbox, dice: random.Random) -> None:
    chance = dice.random()
    if chance < 0.2:
        sandbox.fault(**LOST_AFTER)
    elif chance < 0.4:
        sandbox.fault(**LOST_BEFORE)


def _count(
    prompts: list[str], found: Audit, jobs: set[str], archive: Archive, *, killed: bool
) -> Count:
    """Compare what was decided with what the API really made."""
    count = Count(clips=len(prompts), killed=int(killed))
    held = {entry.clip_key for entry in found.held}
    verdicts = {decision.clip_key: decision.verdict for decision in found.proven}
    for prompt in prompts:
        key = order(prompt).clip_key
        if key not in held:
            continue
        is_paid = prompt in jobs
        count.held += 1
        count.held_and_paid += is_paid
        version = archive.ledger.read(key)
        if version is None:
            raise LookupError(f"the record of {prompt} is gone")
        if version.entry.state is not EntryState.HELD:
            count.released += 1
            count.wrong += is_paid
        if verdicts.get(key) == "paid":
            count.said_paid += 1
            count.said_paid_and_not += not is_paid
    return count


def _nothing_runs(sandbox: Sandbox) -> bool:
    return all(job["state"] in ("completed", "failed") for job in sandbox.jobs())


def _all_ended(sandbox: Sandbox, prefix: str) -> bool:
    return all(
        job["state"] in ("completed", "failed")
        for job in sandbox.jobs()
        if f"{prefix} clip" in job["body"]["prompt"]
    )


def _wait_until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError("the sandbox's jobs did not end")
        time.sleep(0.05)


def rounds(s3: LocalS3, clips: int, window: int, scenario: Scenario, seed: int) -> Count:
    """Play a scenario with so many clips, so many of them between two readings."""
    dice = random.Random(f"{scenario.name} {seed}")
    total = Count()
    with sandbox_of(scenario) as sandbox:
        for begun in range(0, clips, window):
            total.add(one_window(scenario, sandbox, s3, min(window, clips - begun), dice))
    return total
