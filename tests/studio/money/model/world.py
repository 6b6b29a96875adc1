"""One archive, one API and several processes: what they may do, and the rules that hold."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from prefect_kling.kling import polling
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import JobFailed, KlingError
from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.polling import PollPolicy
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import STORED, VideoRequest
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.media.probe import MediaFacts
from prefect_kling.studio.money import (
    budget,
    callback_handling,
    candidates,
    decisions,
    earlier_jobs,
    ledger,
    overdue,
    reconcile,
    record,
    settlement,
    submission,
)
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.callbacks import CLAIM_LENGTH
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.record import Entry, EntryState
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket
from tests.studio.money.model.api import Api, Client, Job
from tests.studio.money.model.store import Actor, Clock, Store

PROMPTS = ("one", "two")
ORDERS = {
    prompt: ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))
    for prompt in PROMPTS
}
LISTED = quote(ORDERS["one"].request).usd
WORST = quote(ORDERS["one"].request).at_most_usd
PATIENCE = PollPolicy(deadline=120)
SWEEP = reconcile.ReconcileSettings(at_once=1)
OPTIONS = submission.SubmitOptions(busy=900)


class ModelArchive(Archive):
    """An archive whose videos are empty; all that is about money is the real thing."""

    def keep(
        self,
        order: ClipOrder,
        job: VideoJob,
        charged_usd: Decimal | None = None,
        reserved_usd: Decimal = Decimal(0),
        **other: object,
    ) -> Clip:
        """Store a clip's record."""
        kept = self.find(order.clip_key)
        if kept is not None:
            return kept
        clip = Clip(
            clip_key=order.clip_key,
            uri=self.clip_uri(order.clip_key),
            sha256="",
            bytes=0,
            media=MediaFacts(
                seconds=3, width=0, height=0, fps=24, frames=72, codec="", audio=False, bytes=0
            ),
            order=order,
            job_id=job.job_id,
            listed_usd=LISTED,
            charged_usd=charged_usd,
            archived_at=datetime.now(UTC),
        )
        body = clip.model_dump_json().encode()
        if self.bucket.create(layout.clip_record(order.clip_key), body) is None:
            other_clip = self.find(order.clip_key)
            assert other_clip is not None
            return other_clip
        return clip


async def _in_place(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call at once: an actor is one thread."""
    return call(*args, **kwargs)


async def _until_stopped(call: Callable[[], Any], stop: object) -> Any:
    return call()


class _NoLimit:
    @asynccontextmanager
    async def place(self, limit: int) -> AsyncIterator[None]:
        yield


class World:
    """The model. A step that breaks a rule raises `AssertionError`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = Store(self.clock)
        self.api = Api(self.clock)
        self.actors: list[Actor] = []
        self.chosen: set[str] = set()
        """Prompts of clips that somebody chose to pay for once more."""
        self.given_up: set[str] = set()
        self.kept_late: set[str] = set()
        """Jobs whose videos were kept beside a clip."""
        self.broken: list[str] = []
        self.log: list[str] = []
        self._seen_ids: dict[str, set[str]] = {}
        self._may_forget: set[str] = set()
        self._made_count = 0
        self._token_count = 0
        self._patches: list[Any] = []
        self.store.written = self._check_write
        self._patch()

    def _patch(self) -> None:
        clock = SimpleNamespace(
            time=lambda: self.clock.now,
            monotonic=lambda: self.clock.now,
            sleep=lambda seconds: None,
        )
        now = SimpleNamespace(now=lambda zone: self.clock.datetime())
        for module in (ledger, submission, budget, polling):
            self._patches.append(patch.object(module, "time", clock))
        for module in (
            ledger, record, submission, settlement, reconcile, decisions, overdue, earlier_jobs,
        ):  # fmt: skip
            self._patches.append(patch.object(module, "datetime", now))
        for module in (
            submission, settlement, reconcile, earlier_jobs, candidates, callback_handling,
            decisions,
        ):  # fmt: skip
            self._patches.append(patch.object(module, "in_thread", _in_place))
        self._patches.append(patch.object(ledger, "map_in_threads", map))
        self._patches.append(patch.object(settlement, "until_stopped", _until_stopped))
        self._patches.append(patch.object(submission, "_sending", _NoLimit()))
        self._patches.append(patch.object(submission, "_leaving", _NoLimit()))
        marks = SimpleNamespace(token_hex=self._token)
        self._patches.append(patch.object(ledger, "secrets", marks))
        with_threads = SimpleNamespace(to_thread=_in_place, sleep=asyncio.sleep)
        self._patches.append(patch.object(earlier_jobs, "asyncio", with_threads))
        self._patches.append(
            patch.object(
                earlier_jobs,
                "_keep_late_video",
                lambda order, job, access, archive: self.kept_late.add(job.job_id),
            )
        )
        for each in self._patches:
            each.start()

    def _token(self, size: int) -> str:
        self._token_count += 1
        return hashlib.sha256(str(self._token_count).encode()).hexdigest()[: 2 * size]

    def end(self) -> None:
        """Kill all actors, and put the real clock back."""
        for actor in self.actors:
            if not actor.is_finished:
                actor.resume("die")
        for each in reversed(self._patches):
            each.stop()

    # What is written

    def _check_write(self, key: str, body: bytes) -> None:
        if key.startswith(layout.LEDGER_RECORDS):
            entry = Entry.model_validate_json(body, context=STORED)
            self.log.append(
                f"  {entry.order.request.prompt}: {entry.state} {entry.job_id} {entry.last_note}"
            )
            self._check_ids(entry)
            if entry.state is EntryState.ARCHIVED:
                self._check_owner(entry.clip_key, str(entry.job_id))
        elif key.startswith(layout.CLIPS):
            clip = json.loads(body)
            self._check_owner(clip["clip_key"], clip["job_id"])

    def _check_ids(self, entry: Entry) -> None:
        seen = self._seen_ids.setdefault(entry.clip_key, set())
        seen -= self._may_forget
        seen |= set(entry.all_job_ids)
        for job_id in seen - set(entry.all_job_ids):
            if self._owner(job_id) != entry.clip_key:
                self.broken.append(f"{job_id} was lost from the record")

    def _check_owner(self, clip_key: str, job_id: str) -> None:
        if self._owner(job_id) != clip_key:
            self.broken.append(f"{job_id} was archived for a clip that it does not belong to")

    def _owner(self, job_id: str) -> str:
        path = layout.job_owner(hashlib.sha256(job_id.encode()).hexdigest())
        if path not in self.store.objects:
            return ""
        return str(json.loads(self.store.objects[path][0])["clip_key"])

    # What actors do

    def start(
        self, name: str, work: Callable[[Archive, KlingClient], Coroutine[Any, Any, None]]
    ) -> Actor:
        """Start a process."""
        bucket = Bucket(cast("Any", self.store), "model")
        # Whether the store keeps its conditions is not the question here.
        bucket.is_proven = True
        archive = ModelArchive(bucket, cap_usd=Decimal(1000))
        client = cast("KlingClient", Client(self.api))

        async def run() -> None:
            try:
                await work(archive, client)
            except* (KlingError, StudioError) as error:
                self.log.append(f"  {name} ends: {error.exceptions!r}"[:240])

        actor = Actor(name, run, self.clock)
        self.actors.append(actor)
        return actor

    def make(self, prompt: str, *, resubmit: bool = False) -> Actor:
        """Make a clip: send it unless somebody has, wait for it, and keep it."""
        options = OPTIONS
        if resubmit:
            options = replace(OPTIONS, on_unknown="resubmit")
            self.chosen.add(prompt)

        async def work(archive: Archive, client: KlingClient) -> None:
            entry = await submission.submit_once(ORDERS[prompt], client, archive, options)
            if entry.state is EntryState.ARCHIVED:
                return
            try:
                job = await settlement.wait_for_paid_job(entry, client, archive, PATIENCE)
            except JobFailed as failure:
                await settlement.close_failed(entry, failure, archive)
                return
            await settlement.keep_paid_job(entry, job, client, archive)

        return self.start(f"make {prompt}", work)

    def sweep(self) -> Actor:
        """Look at everything that is open, once."""

        async def work(archive: Archive, client: KlingClient) -> None:
            findings = await reconcile.reconcile(archive, client, SWEEP)
            self.log.append(f"  sweep: {findings.counts} {findings.named.get('trouble', '')}")

        return self.start("sweep", work)

    def callback(self, prompt: str, job_id: str | None, *, earlier: bool = False) -> Actor | None:
        """The API calls the address of a clip's latest or first claim, and names a job."""
        entry = self.entry(prompt)
        if entry is None:
            return None
        claim = entry.claim
        if earlier and entry.attempts:
            claim = entry.attempts[0].claim
        call = callback_handling.CallbackEvent(entry.clip_key, claim[:CLAIM_LENGTH], job_id)

        async def work(archive: Archive, client: KlingClient) -> None:
            await callback_handling.handle_callback(call, client, archive)

        return self.start(f"callback {prompt} {job_id}", work)

    def decide(self, prompt: str, decision: str) -> Actor:
        """A person decides about a clip, and is right about what it is about."""
        key = ORDERS[prompt].clip_key

        async def work(archive: Archive, client: KlingClient) -> None:
            version = archive.ledger.read(key)
            if version is None:
                return
            entry = version.entry
            match decision:
                case "adopt":
                    jobs = [job for job in self.api.of(prompt) if self._is_there(job)]
                    if jobs:
                        self._may_forget |= {str(entry.job_id)}
                        job = await client.get(jobs[-1].job_id)
                        await decisions.adopt(version, job, client, archive, "a person")
                case "release":
                    if self.may_be_paid(prompt):
                        return
                    self._may_forget |= set(entry.named_job_ids)
                    decisions.release(version, entry.named_job_ids, archive, "a person")
                case "retry":
                    if entry.state is EntryState.GIVEN_UP:
                        self.chosen.add(prompt)
                    await decisions.retry(version, client, archive, "a person")
                case "give up":
                    self.given_up.add(prompt)
                    await decisions.give_up(version, client, archive, "a person")

        return self.start(f"{decision} {prompt}", work)

    def may_be_paid(self, prompt: str) -> bool:
        """Whether a job of a clip is paid or may be yet, by all that a person can find out."""
        if any(job.state is not JobState.FAILED for job in self.api.of(prompt)):
            return True
        return any(
            each.prompt == prompt and not each.actor.is_finished and not each.is_certain
            for each in self.api.departures
        )

    def _is_there(self, job: Job) -> bool:
        return job.state is not JobState.FAILED and not self.api.is_deleted(job)

    def entry(self, prompt: str) -> Entry | None:
        """Return a clip's record as it stands."""
        stored = self.store.objects.get(layout.ledger_record(ORDERS[prompt].clip_key))
        if stored is None:
            return None
        return Entry.model_validate_json(stored[0], context=STORED)

    def step(self, actor: Actor, answer: str = "ok") -> None:
        """Let an actor make one step."""
        if not actor.is_finished:
            if answer != "ok":
                self.log.append(f"{actor.name} at {actor.waits_for}: {answer}")
            actor.resume(answer)
        self.check()

    def finish(self, actor: Actor) -> None:
        """Let an actor go on to its end."""
        for _ in range(3000):
            if actor.is_finished:
                break
            self.step(actor)
        assert actor.is_finished, f"{actor.name} does not end"
        self.check()

    def end_job(self, job: Job, state: JobState, *, is_retryable: bool) -> None:
        """Let a running job end."""
        job.state = state
        job.is_retryable = is_retryable
        job.ended_at = self.clock.now

    # The rules

    def check(self) -> None:
        """Check what must hold at every moment."""
        for actor in self.actors:
            if actor.error is not None:
                raise AssertionError(f"{actor.name} raised {actor.error!r}") from actor.error
        while self._made_count < len(self.api.jobs):
            job = self.api.jobs[self._made_count]
            self._made_count += 1
            earlier = [
                other
                for other in self.api.jobs[: self._made_count - 1]
                if other.prompt == job.prompt and self._is_there(other)
            ]
            if earlier and job.prompt not in self.chosen | self.api.ambiguous:
                self.broken.append(f"{job.job_id} was paid beside {earlier[0].job_id}")
        assert not self.broken, self.broken

    def close_everything(self) -> None:
        """Take the ways out; they must end every record and leave no money over."""
        for actor in self.actors:
            if not actor.is_finished:
                actor.resume("die")
        for job in self.api.jobs:
            job.wrong_answers = 99
            if job.state is JobState.PROCESSING:
                self.end_job(job, JobState.COMPLETED, is_retryable=False)
        deliverable = [job for job in self.api.jobs if self._is_there(job)]
        self.log.append("closing")
        for _ in range(4):
            self.clock.now += 3600
            self.finish(self.sweep())
            for prompt in PROMPTS:
                self._close(prompt)
        self.clock.now += 8 * 24 * 3600
        self.finish(self.sweep())
        self.finish(self.sweep())
        self.clock.now += 3600
        self.finish(self.sweep())
        self._check_closed()
        self._check_videos(deliverable)

    def _check_videos(self, deliverable: list[Job]) -> None:
        """Every video the API still had at the closing, of a known job, is kept."""
        for job in deliverable:
            entry = self.entry(job.prompt)
            if entry is None or job.job_id not in entry.owned_job_ids:
                continue
            clip = self.store.objects.get(layout.clip_record(entry.clip_key))
            archived = ""
            if clip is not None:
                archived = json.loads(clip[0])["job_id"]
            assert job.job_id in {archived, *self.kept_late}, f"the video of {job.job_id} is lost"

    def _close(self, prompt: str) -> None:
        entry = self.entry(prompt)
        if entry is None:
            return
        there = [job for job in self.api.of(prompt) if self._is_there(job)]
        free = [job for job in there if self._owner(job.job_id) in ("", entry.clip_key)]
        if entry.state is EntryState.HELD:
            if free:
                self.finish(self.decide(prompt, "adopt"))
            elif self.may_be_paid(prompt):
                self.finish(self.decide(prompt, "give up"))
            else:
                self.finish(self.decide(prompt, "release"))
        elif entry.state is EntryState.SUBMITTED:
            self.finish(self.decide(prompt, "give up"))

    def _check_closed(self) -> None:
        markers = [
            key
            for key in self.store.objects
            if key.startswith((layout.OPEN_MARKERS, layout.HELD_MARKERS))
        ]
        for prompt in PROMPTS:
            entry = self.entry(prompt)
            if entry is not None:
                assert entry.state in (
                    EntryState.RELEASED,
                    EntryState.FAILED,
                    EntryState.GIVEN_UP,
                    EntryState.ARCHIVED,
                ), f"{prompt} has no way out of {entry.state}"
        assert not markers, f"left in the index: {markers}"
        stored = self.store.objects.get(layout.BUDGET)
        if stored is None:
            return
        accounts = budget.Accounts.model_validate_json(stored[0])
        assert accounts.reserved == {}, f"set aside for ever: {accounts.reserved}"
        least = Decimal(0)
        most = Decimal(0)
        for job in self.api.jobs:
            if job.state is JobState.COMPLETED:
                usd = LISTED if job.usd is None else job.usd
                least += usd
                most += usd
        for each in self.api.departures:
            decided = self.given_up | self.chosen | self.api.ambiguous
            if not each.is_certain or each.prompt in decided:
                most += WORST
        assert accounts.spent_usd <= most, f"{accounts.spent_usd} booked, at most {most} paid"
        is_known = not self.given_up | self.api.ambiguous | self.chosen
        if is_known:
            assert accounts.spent_usd >= least, f"{accounts.spent_usd} booked, {least} paid"
