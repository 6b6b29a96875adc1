"""The durable record of every intent and every paid job: one object per clip key, for life.

Created with `If-None-Match: *`, changed only with `If-Match`. Only the process whose conditional
write created an
*intent* may send the paid request. The markers beside the records are an index for people and sweepers; no
decision rests on them.

```text
            ┌──────── released ◄── certainly not sent, or refused: nothing was paid
            ▼            ▲
(none) ─► intent ────────┼──► submitted ──► archived
            │            │        └───────► failed   (not charged; retryable or final)
            └──────────► held ──► submitted (somebody names the job), released (a person says so),
                                  or intent (only with on_unknown="resubmit", chosen in advance)
```
"""

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.request import STORED
from prefect_kling.studio.errors import LedgerMoved, LedgerUnreadable, StorageUnavailable
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket

NOTHING = Decimal(0)
# A clip queued for a busy API is released and claimed many times: the record keeps the latest
# steps.
HISTORY = 50
# How often to read a record again that others change while an id is added to it.
CONFLICTS = 20


class EntryState(StrEnum):
    """What is known about the money of one clip."""

    INTENT = "intent"
    SUBMITTED = "submitted"
    HELD = "held"
    RELEASED = "released"
    FAILED = "failed"
    ARCHIVED = "archived"


class LateJob(BaseModel):
    """A job whose id arrived when the clip's record had moved on without it; it may be paid."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    claim: str
    at: datetime


class Event(BaseModel):
    """One line of a record's history."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    state: EntryState
    note: str = ""


class Entry(BaseModel):
    """The record of one clip's money, as it stands in the ledger."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    version: int = 1
    """Form of this record."""
    clip_key: str
    """The clip it is about."""
    state: EntryState
    """Where the money stands."""
    order: ClipOrder
    """What was sent, frozen; signed links are never part of it."""
    at_most_usd: Decimal
    """What the clip may cost at worst."""
    attempt: int = 1
    """How many paid requests this clip has had, this one included; failed ones are not charged."""
    sent_to: str = ""
    """The API it is sent to."""
    job_id: str | None = None
    """The API's id of the paid job. Of a held clip: the id that stood in an answer, which may be its job."""
    maybe_paid_usd: Decimal = NOTHING
    """What earlier requests may have cost whose outcome is unknown: they were sent again by choice."""
    late_jobs: tuple[LateJob, ...] = ()
    """Jobs of earlier claims whose ids arrived too late to become the clip's job."""
    charged_usd: Decimal | None = None
    """What it cost in the end: the API's own figure when it offers one, else the price table's."""
    retryable: bool = False
    """Whether a failed job may be tried once more."""
    claim: str
    """Random mark of the process that may send the request."""
    by: str
    """Machine and process that wrote this version."""
    history: tuple[Event, ...] = ()
    """What happened last, oldest first."""

    @property
    def named_job_ids(self) -> tuple[str, ...]:
        """The ids of jobs that may be this clip's: its own, and those that were named late."""
        late = tuple(job.job_id for job in self.late_jobs)
        if self.job_id is None:
            return late
        return (self.job_id, *late)

    @property
    def named_job_id(self) -> str | None:
        """The likeliest of `named_job_ids`."""
        if not self.named_job_ids:
            return None
        return self.named_job_ids[0]

    @property
    def sent_at(self) -> datetime | None:
        """When the latest request was about to be sent, by the sender's clock; None if the history is too long."""
        for event in reversed(self.history):
            if event.state is EntryState.INTENT:
                return event.at
        return None

    def moved(self, state: EntryState, note: str = "", **changes: object) -> "Entry":
        """Return the record after one step, with the step in its history."""
        readable = note.encode("utf-8", "replace").decode()
        event = Event(at=datetime.now(UTC), state=state, note=readable)
        return self.model_copy(
            update={
                "state": state,
                "by": _whoami(),
                "history": (*self.history, event)[-HISTORY:],
                **changes,
            }
        )


@dataclass(frozen=True)
class VersionedEntry:
    """A record as read or written: its version in the store, its age there, and whether this very call wrote it."""

    entry: Entry
    etag: str
    age_seconds: float
    is_mine: bool = False
    read_at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Marker:
    """A pointer to an unfinished record: the clip, the beginning of the claim it was set for, and its age."""

    name: str
    clip_key: str
    claim: str
    age_seconds: float


@dataclass(frozen=True)
class ClaimRequest:
    """What a claim is made with: the worst price, the API it goes to, and what may be tried again."""

    at_most_usd: Decimal
    sent_to: str = ""
    max_attempts: int = 3
    resubmit_unknown: bool = False


class Ledger:
    """The ledger in a bucket. Methods block (see `in_thread`); each may be repeated safely.

    Every answer of the store other than "no such key" stops the caller with a `StudioError`.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def read(self, clip_key: str) -> VersionedEntry | None:
        """Read a clip's record; None only when there is none. Raises `LedgerUnreadable` rather than guess."""
        stored = self.bucket.read(_path(clip_key))
        if stored is None:
            return None
        try:
            entry = stored.parse(Entry, STORED)
        except LedgerUnreadable as error:
            error.clip_key = clip_key
            raise
        return VersionedEntry(entry, stored.etag, stored.age_seconds)

    def claim(self, order: ClipOrder, wanted: ClaimRequest) -> VersionedEntry:
        """Write the intent to pay for an order, unless somebody has.

        Only the caller whose write won, told by `is_mine`, may send the request. A released record
        is claimed anew. So is a failed one that is retryable, and a held one if `resubmit_unknown`
        is set and no answer named a job, as long as attempts are left.
        """
        self.bucket.require_conditional_writes()
        version = self.read(order.clip_key)
        if version is None:
            intent = Entry(
                clip_key=order.clip_key,
                state=EntryState.INTENT,
                order=order,
                at_most_usd=NOTHING,
                claim="",
                by="",
            )
            return self._won(intent, wanted, None, attempt=1, earlier_usd=NOTHING)
        entry = version.entry
        if entry.state is EntryState.RELEASED and entry.late_jobs:
            return self.hold(version, "a job that was named late may be paid")
        if entry.state is EntryState.RELEASED:
            return self._won(
                entry, wanted, version.etag, attempt=entry.attempt, earlier_usd=NOTHING
            )
        if entry.attempt < wanted.max_attempts:
            if entry.state is EntryState.FAILED and entry.retryable and not entry.late_jobs:
                return self._won(
                    entry, wanted, version.etag, attempt=entry.attempt + 1, earlier_usd=NOTHING
                )
            # A job that may be paid is known by its id: it is looked for, never paid for once more.
            is_without_a_job = entry.named_job_id is None
            if entry.state is EntryState.HELD and wanted.resubmit_unknown and is_without_a_job:
                # What was sent before may be paid too, so it stays part of the worst price.
                return self._won(
                    entry,
                    wanted,
                    version.etag,
                    attempt=entry.attempt + 1,
                    earlier_usd=entry.at_most_usd,
                )
        return version

    def _won(
        self,
        entry: Entry,
        wanted: ClaimRequest,
        etag: str | None,
        *,
        attempt: int,
        earlier_usd: Decimal,
    ) -> VersionedEntry:
        """Try to be the one who writes this intent; whoever came first is returned instead."""
        note = f"attempt {attempt}"
        if earlier_usd:
            note = f"attempt {attempt}, ${earlier_usd} may be paid already"
        intent = entry.moved(
            EntryState.INTENT,
            note,
            attempt=attempt,
            claim=secrets.token_hex(16),
            job_id=None,
            sent_to=wanted.sent_to,
            at_most_usd=wanted.at_most_usd + earlier_usd,
            maybe_paid_usd=earlier_usd,
        )
        # The age of a claim counts from before the write: its answer may be long on the way.
        started = time.time()
        # The marker goes first: an open record without a marker would be missed by a sweep, the
        # reverse is harmless.
        self.bucket.put(_marker("open", intent), b"", "text/plain")
        path = _path(intent.clip_key)
        body = _bytes(intent)
        if etag is None:
            written = self.bucket.create(path, body)
        else:
            written = self.bucket.replace(path, body, etag)
        if written is not None:
            return VersionedEntry(intent, written, 0.0, is_mine=True, read_at=started)
        self.bucket.delete(_marker("open", intent))
        version = self.read(intent.clip_key)
        if version is None:
            raise LedgerUnreadable(
                f"{self.bucket.uri(path)} came and went", clip_key=intent.clip_key
            )
        return version

    def submitted(self, version: VersionedEntry, job_id: str, note: str = "") -> VersionedEntry:
        """Note the id of the paid job. The most precious write there is: see `submit_once`.

        It wins over a hold and over a release of the same claim: somebody called the sender dead,
        who now knows better. Raises `LedgerMoved` where another claim has taken the clip over.
        """
        try:
            return self._move(version, EntryState.SUBMITTED, note or f"job {job_id}", job_id=job_id)
        except LedgerMoved:
            now = self._same_claim(version)
            if now is not None and now.entry.state is EntryState.HELD:
                return self.adopt(now, job_id, "its own sender")
            if now is not None and now.entry.state is EntryState.RELEASED:
                return self._reopen(now, EntryState.SUBMITTED, f"job {job_id}", job_id)
            raise

    def hold(self, version: VersionedEntry, why: str, job_id: str | None = None) -> VersionedEntry:
        """Note that the outcome is unknown; from now on only a person, or proof, moves this record.

        `job_id` is the id that the answer names. It is written over a hold without an id and over a
        release of the same claim, too.
        """
        marker = _marker("held", version.entry)
        self.bucket.put(marker, b"", "text/plain")
        try:
            return self._move(version, EntryState.HELD, why, job_id=job_id)
        except LedgerMoved:
            now = self._same_claim(version)
            if now is not None and now.entry.state is EntryState.RELEASED:
                return self._reopen(now, EntryState.HELD, why, job_id)
            is_held = now is not None and now.entry.state is EntryState.HELD
            if now is not None and is_held and job_id is not None and now.entry.job_id is None:
                return self._reopen(now, EntryState.HELD, why, job_id)
            if not is_held:
                self.bucket.delete(marker)
            raise

    def add_late_job(self, sender: Entry, job_id: str) -> Entry:
        """Add an id to the record of its clip, whatever became of the claim it was sent under.

        For ids that `submitted` and `hold` could not write. Safe to repeat: an id that stands in
        the record is left alone.
        """
        for _ in range(CONFLICTS):
            now = self.read(sender.clip_key)
            if now is None:
                raise LedgerUnreadable(
                    "the record of a paid job is gone", clip_key=sender.clip_key, job_id=job_id
                )
            known = {now.entry.job_id, *(late.job_id for late in now.entry.late_jobs)}
            if job_id in known:
                return now.entry
            state = now.entry.state
            if state in (EntryState.RELEASED, EntryState.FAILED):
                # Left so, it would be paid for once more although this job may be paid.
                state = EntryState.HELD
                self.bucket.put(_marker("open", now.entry), b"", "text/plain")
                self.bucket.put(_marker("held", now.entry), b"", "text/plain")
            late = LateJob(job_id=job_id, claim=sender.claim, at=datetime.now(UTC))
            entry = now.entry.moved(
                state,
                f"job {job_id} was named late; it may be paid too",
                late_jobs=(*now.entry.late_jobs, late),
                job_id=None if now.entry.state is EntryState.FAILED else now.entry.job_id,
            )
            if self.bucket.replace(_path(entry.clip_key), _bytes(entry), now.etag) is not None:
                return entry
        raise StorageUnavailable(
            f"{self.bucket.uri(_path(sender.clip_key))} is being written by many at once",
            clip_key=sender.clip_key,
            job_id=job_id,
        )

    def _same_claim(self, version: VersionedEntry) -> VersionedEntry | None:
        """Read the record again; None if another claim has it by now."""
        now = self.read(version.entry.clip_key)
        if now is None or now.entry.claim != version.entry.claim:
            return None
        return now

    def _reopen(
        self, version: VersionedEntry, state: EntryState, note: str, job_id: str | None
    ) -> VersionedEntry:
        """Change a record that others held or released in a living sender's name."""
        self.bucket.put(_marker("open", version.entry), b"", "text/plain")
        entry = version.entry.moved(state, note, job_id=job_id)
        etag = self.bucket.replace(_path(entry.clip_key), _bytes(entry), version.etag)
        if etag is None:
            raise LedgerMoved(
                f"somebody else changed the record while it became {state}",
                clip_key=entry.clip_key,
                job_id=job_id,
            )
        return VersionedEntry(entry, etag, 0.0, is_mine=True)

    def release(self, version: VersionedEntry, why: str) -> VersionedEntry:
        """Note that certainly nothing was paid, so that the clip may be claimed again.

        What a person releases was looked for: the ids that answers named stay in the history only.
        """
        moved = self._move(
            version,
            EntryState.RELEASED,
            why,
            job_id=None,
            late_jobs=(),
            maybe_paid_usd=NOTHING,
        )
        self._remove_markers(version.entry)
        return moved

    def give_back(self, version: VersionedEntry, why: str) -> VersionedEntry:
        """Note that the sender's request was certainly not taken.

        The clip is released, unless an earlier request of it, or a job that was named late, may be
        paid: then it is held.
        """
        now = self._same_claim(version)
        if now is not None and (now.entry.late_jobs or now.entry.maybe_paid_usd):
            self.bucket.put(_marker("held", now.entry), b"", "text/plain")
            note = f"{why}; an earlier request of this clip may be paid"
            return self._move(now, EntryState.HELD, note)
        moved = self._move(version, EntryState.RELEASED, why, job_id=None)
        self._remove_markers(version.entry)
        return moved

    def failed(self, version: VersionedEntry, why: str, *, retryable: bool) -> VersionedEntry:
        """Note that the job ended without a video, which costs nothing.

        `is_mine` says that nobody had before. Where another job of the clip was named late, the
        clip is held for that one.
        """
        if version.entry.late_jobs or version.entry.maybe_paid_usd:
            self.bucket.put(_marker("held", version.entry), b"", "text/plain")
            note = f"job {version.entry.job_id} failed: {why}; another request may be paid"
            return self._move(version, EntryState.HELD, note, job_id=None)
        moved = self._move(version, EntryState.FAILED, why, retryable=retryable)
        self._remove_markers(version.entry)
        return moved

    def archived(self, version: VersionedEntry, uri: str, charged_usd: Decimal) -> VersionedEntry:
        """Note that the paid video is safe, and what it cost. `is_mine` says that nobody had before."""
        moved = self._move(version, EntryState.ARCHIVED, uri, charged_usd=charged_usd)
        self._remove_markers(version.entry)
        return moved

    def adopt(self, version: VersionedEntry, job_id: str, who: str) -> VersionedEntry:
        """Note that a held clip's job was found; from now on it is waited for like any other.

        Another job that the record names stays in it, as one that was named late.
        """
        now = datetime.now(UTC)
        others = [
            LateJob(job_id=other, claim=version.entry.claim, at=now)
            for other in version.entry.named_job_ids
            if other != job_id
        ]
        note = f"job {job_id} adopted by {who}"
        moved = self._move(
            version, EntryState.SUBMITTED, note, job_id=job_id, late_jobs=tuple(others)
        )
        self.bucket.delete(_marker("held", version.entry))
        return moved

    def open_markers(self) -> Iterator[Marker]:
        """Yield the markers of everything that is not finished, a page of the store at a time."""
        for name, age in self.bucket.ages(layout.OPEN_MARKERS):
            key, claim = layout.parse_marker(name)
            yield Marker(name, key, claim, age)

    def all_keys(self, beginning: str = "") -> Iterator[str]:
        """Yield the keys of all records, or of those that begin so."""
        for name in self.bucket.names(layout.LEDGER_RECORDS + beginning):
            yield name.removeprefix(layout.LEDGER_RECORDS).removesuffix(".json")

    def clear(self, marker: Marker) -> None:
        """Remove a marker that stands for nothing."""
        self.bucket.delete(marker.name)

    def _move(
        self, version: VersionedEntry, state: EntryState, note: str, **changes: object
    ) -> VersionedEntry:
        """Change a record from the version that was read; an id that was added meanwhile is kept."""
        for _ in range(CONFLICTS):
            if version.entry.state is state:
                return replace(version, is_mine=False)
            if version.entry.state is EntryState.ARCHIVED:
                message = f"the clip is archived, and stays so; it cannot become {state}"
                raise LedgerMoved(
                    message, clip_key=version.entry.clip_key, job_id=version.entry.job_id
                )
            entry = version.entry.moved(state, note, **changes)
            etag = self.bucket.replace(_path(entry.clip_key), _bytes(entry), version.etag)
            if etag is not None:
                return VersionedEntry(entry, etag, 0.0, is_mine=True)
            now = self.read(entry.clip_key)
            if now is None or not _differ_in_late_jobs_only(now.entry, version.entry):
                break
            version = now
        if now is not None and now.entry.state is state and now.entry.job_id == entry.job_id:
            return now
        found = "nothing"
        if now is not None:
            found = now.entry.state
        raise LedgerMoved(
            f"somebody else changed the record to {found} while it became {state}",
            clip_key=entry.clip_key,
            job_id=entry.job_id,
        )

    def _remove_markers(self, entry: Entry) -> None:
        """Take a finished record out of the index; what trouble with the store leaves there, a sweep removes."""
        with suppress(StorageUnavailable):
            self.bucket.delete(_marker("open", entry))
            if any(event.state is EntryState.HELD for event in entry.history):
                self.bucket.delete(_marker("held", entry))


def _path(clip_key: str) -> str:
    return layout.ledger_record(clip_key)


def _marker(kind: Literal["open", "held"], entry: Entry) -> str:
    """Markers belong to a claim: who finishes an old attempt must not unmark the new one."""
    if kind == "held":
        return layout.held_marker(entry.clip_key, entry.claim)
    return layout.open_marker(entry.clip_key, entry.claim)


def _bytes(entry: Entry) -> bytes:
    return entry.model_dump_json(indent=1, exclude_defaults=False).encode()


def _whoami() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _differ_in_late_jobs_only(one: Entry, other: Entry) -> bool:
    """Whether nothing was decided between two versions: only the id of an earlier claim was added."""
    if one.claim != other.claim or one.state is not other.state or one.job_id != other.job_id:
        return False
    return one.late_jobs != other.late_jobs
