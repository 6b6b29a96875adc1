"""The durable record of every paid request: one object per clip key, for life.

Created with `If-None-Match: *`, changed only with `If-Match`. Only the process whose conditional
write created a *claim* may send the paid request, and only after it has moved that claim to
*sending*. The markers beside the records are an index for people and sweeps; no decision about
money rests on them.

```text
            ┌────────────── released ◄── not sent, refused, or its process died before sending
            ▼                  ▲
(none) ─► claimed ─► sending ──┼──► submitted ──► archived
            ▲            │     │        ├───────► failed    (not charged; retryable or final)
            │            ▼     │        └───────► given up  (a person waits no longer)
            │          held ───┴──► submitted (its job is found), released (a person says so),
            └────────────┘          given up, or claimed (only with on_unknown="resubmit")
```

Others may release a record that is only claimed. One that is sending is held by others, and
released only by its own sender. A failed record is claimed anew only by a caller who has read the
jobs of its earlier attempts.
"""

import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

from prefect_kling.kling.request import STORED
from prefect_kling.studio.errors import LedgerMoved, LedgerUnreadable, StorageUnavailable
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.record import (
    BEFORE_A_JOB,
    HISTORY,
    NOTHING,
    Attempt,
    Entry,
    EntryState,
    Event,
    LateJob,
)
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.concurrency import map_in_threads
from prefect_kling.studio.storage.preflight import require_usable

__all__ = [
    "HISTORY",
    "NOTHING",
    "Attempt",
    "ClaimRequest",
    "Entry",
    "EntryState",
    "Event",
    "LateJob",
    "Ledger",
    "Marker",
    "VersionedEntry",
]

# How often to read a record again that others change while an id is added to it.
CONFLICTS = 20
OUTAGE_SECONDS = 3600.0
"""Failures with less than so many seconds between them belong to one outage."""
MAX_ATTEMPTS_FOR_LIFE = 9


@dataclass(frozen=True)
class VersionedEntry:
    """A record as read or written: its version and age, and whether this very call wrote it."""

    entry: Entry
    etag: str
    age_seconds: float
    is_mine: bool = False
    read_at: float = field(default_factory=time.time)


@dataclass(frozen=True)
class Marker:
    """A pointer to an unfinished record: the clip, the beginning of its claim, and its age."""

    name: str
    clip_key: str
    claim: str
    age_seconds: float


@dataclass(frozen=True)
class ClaimRequest:
    """What a claim is made with: worst price, API and account, what may be tried again.

    `max_attempts` limits the failures of one outage, `max_attempts_for_life` all paid requests.
    `read_version` is the ETag of the record whose earlier jobs the caller has read: only that
    version is claimed anew. `expects_none`: there is probably no record yet, so it is created
    without being read first.
    """

    at_most_usd: Decimal
    sent_to: str = ""
    account: str = ""
    film: str = ""
    silent_seconds: float | None = None
    max_attempts: int = 3
    max_attempts_for_life: int = MAX_ATTEMPTS_FOR_LIFE
    outage_seconds: float = OUTAGE_SECONDS
    resubmit_unknown: bool = False
    read_version: str = ""
    expects_none: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)

    def allows_another_attempt(self, entry: Entry) -> bool:
        """Whether a failed job may be followed by another attempt now."""
        if not entry.retryable or entry.attempt >= self.max_attempts_for_life:
            return False
        failures = entry.failures_in_a_row(self.outage_seconds, datetime.now(UTC))
        return failures < self.max_attempts

    def allows_resubmission(self, entry: Entry) -> bool:
        """Whether a held clip, of which no answer named a job, may be sent again by choice.

        A request that was certainly not taken is no attempt: it is repeated under its number.
        """
        # A job that may be paid and is known by its id is looked for, never paid for once more.
        if not self.resubmit_unknown or entry.named_job_id is not None:
            return False
        return entry.is_latest_not_taken or entry.attempt < self.max_attempts


class Ledger:
    """The ledger in a bucket. Methods block (see `in_thread`); each may be repeated safely.

    Every answer of the store other than "no such key" stops the caller with a `StudioError`.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    def read(self, clip_key: str) -> VersionedEntry | None:
        """Read a clip's record; None only when there is none.

        Raises `LedgerUnreadable` rather than guess.
        """
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
        """Write the claim to pay for an order, unless somebody has.

        Only the caller whose write won, told by `is_mine`, may go on to `mark_sending`. A released
        record is claimed anew. So is a failed one that allows another attempt, and a held one if
        `resubmit_unknown` is set and no answer named a job, as long as attempts are left. Where
        earlier attempts have jobs, that happens only for the version in `read_version`.
        """
        require_usable(self.bucket)
        version = None
        if not wanted.expects_none:
            version = self.read(order.clip_key)
        if version is None:
            first = Entry(
                clip_key=order.clip_key,
                state=EntryState.CLAIMED,
                order=order,
                at_most_usd=NOTHING,
                claim="",
                by="",
            )
            version = self._won(first, wanted, None)
            if version.is_mine or not wanted.expects_none:
                return version
        entry = version.entry
        if entry.state is EntryState.RELEASED and entry.late_jobs:
            return self.hold(version, "a job that was named late may be paid")
        if self.has_jobs_to_read(entry) and wanted.read_version != version.etag:
            return version
        match entry.state:
            case EntryState.RELEASED:
                return self._won(entry, wanted, version.etag)
            case EntryState.FAILED if not entry.late_jobs and wanted.allows_another_attempt(entry):
                return self._won(
                    _next_attempt(entry, entry.as_attempt("failed")), wanted, version.etag
                )
            case EntryState.HELD if wanted.allows_resubmission(entry):
                if entry.is_latest_not_taken:
                    return self._won(entry, wanted, version.etag)
                if entry.has_latest_among_attempts:
                    # Its latest request has failed; what is unknown is an earlier one.
                    following = entry.model_copy(update={"attempt": entry.attempt + 1})
                    return self._won(following, wanted, version.etag)
                # What was sent before may be paid too, so it stays part of the worst price.
                unknown = entry.model_copy(update={"maybe_paid_usd": entry.at_most_usd})
                unknown = _next_attempt(unknown, entry.as_attempt("unknown"))
                return self._won(unknown, wanted, version.etag)
        return version

    @staticmethod
    def has_jobs_to_read(entry: Entry) -> bool:
        """Whether a new attempt must wait until the jobs of earlier ones have been read."""
        if entry.state is EntryState.FAILED:
            return entry.job_id is not None
        if entry.state in (EntryState.RELEASED, EntryState.HELD):
            return any(each.job_id is not None for each in entry.attempts)
        return False

    def _won(self, entry: Entry, wanted: ClaimRequest, etag: str | None) -> VersionedEntry:
        """Try to be the one who writes this claim; whoever came first is returned instead."""
        note = f"attempt {entry.attempt}"
        if entry.maybe_paid_usd:
            note = f"attempt {entry.attempt}, ${entry.maybe_paid_usd} may be paid already"
        claim = entry.moved(
            EntryState.CLAIMED,
            note,
            claim=secrets.token_hex(16),
            job_id=None,
            is_answered=False,
            sending_since=None,
            failed_at=None,
            retryable=False,
            charged_usd=None,
            sent_to=wanted.sent_to,
            account=wanted.account,
            film=wanted.film,
            tags=dict(wanted.tags),
            adopted_by="",
            silent_seconds=wanted.silent_seconds,
            at_most_usd=wanted.at_most_usd + entry.maybe_paid_usd,
        )
        # The age of a claim counts from before the write: its answer may be long on the way.
        started = time.time()
        # The marker goes first: an open record without a marker would be missed by a sweep, the
        # reverse is harmless.
        self.bucket.put(_marker("open", claim), b"", "text/plain")
        path = _path(claim.clip_key)
        body = _bytes(claim)
        if etag is None:
            written = self.bucket.create(path, body)
        else:
            written = self.bucket.replace(path, body, etag)
        if written is not None:
            return VersionedEntry(claim, written, 0.0, is_mine=True, read_at=started)
        self.bucket.delete(_marker("open", claim))
        version = self.read(claim.clip_key)
        if version is None:
            raise LedgerUnreadable(
                f"{self.bucket.uri(path)} came and went", clip_key=claim.clip_key
            )
        return version

    def mark_sending(self, version: VersionedEntry) -> VersionedEntry:
        """Note that the request is about to leave, and read that note back.

        Only for the claim's owner.

        Raises `LedgerMoved` if the claim was released meanwhile: then nothing may be sent.
        """
        entry = version.entry.moved(EntryState.SENDING, sending_since=datetime.now(UTC))
        path = _path(entry.clip_key)
        etag = self.bucket.replace(path, _bytes(entry), version.etag)
        stored = None
        if etag is not None:
            stored = self.read(entry.clip_key)
        if stored is None or stored.entry != entry:
            raise LedgerMoved(
                "the claim was taken back before its request could be sent",
                clip_key=entry.clip_key,
            )
        return replace(stored, is_mine=True, read_at=version.read_at)

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

    def hold(
        self,
        version: VersionedEntry,
        why: str,
        job_id: str | None = None,
        *,
        is_answered: bool = False,
    ) -> VersionedEntry:
        """Note that the outcome is unknown; from now on only a person, or proof, moves this record.

        `job_id` is the id that the answer names. It is written over a hold without an id and over a
        release of the same claim, too. `is_answered`: the sender itself reports that its request
        has ended.
        """
        marker = _marker("held", version.entry)
        self.bucket.put(marker, b"", "text/plain")
        try:
            return self._move(version, EntryState.HELD, why, job_id=job_id, is_answered=is_answered)
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
            if job_id in now.entry.all_job_ids:
                return now.entry
            state = now.entry.state
            late_marker = ""
            if state in (EntryState.RELEASED, EntryState.FAILED):
                # Left so, it would be paid for once more although this job may be paid.
                state = EntryState.HELD
                self.bucket.put(_marker("open", now.entry), b"", "text/plain")
                self.bucket.put(_marker("held", now.entry), b"", "text/plain")
            if state in (EntryState.ARCHIVED, EntryState.GIVEN_UP):
                # A sweep keeps its video beside the clip.
                late_marker = layout.open_marker(sender.clip_key, sender.claim)
                self.bucket.put(late_marker, b"", "text/plain")
            entry = _with_late_job(now.entry, sender, job_id, state)
            if self.bucket.replace(_path(entry.clip_key), _bytes(entry), now.etag) is not None:
                if late_marker:
                    # Who closed the record at the same time may have removed it.
                    self.bucket.put(late_marker, b"", "text/plain")
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

        What a person releases was looked for: the ids that answers named stay in the history only,
        and earlier requests whose outcome was unknown count as not taken.
        """
        attempts = [_not_taken(each) for each in version.entry.attempts]
        moved = self._move(
            version,
            EntryState.RELEASED,
            why,
            job_id=None,
            late_jobs=(),
            maybe_paid_usd=NOTHING,
            attempts=tuple(attempts),
        )
        self._remove_markers(version.entry)
        return moved

    def give_back(self, version: VersionedEntry, why: str) -> VersionedEntry:
        """Note that a claim's request was certainly not sent or not taken.

        The clip is released, unless an earlier request of it, or a job that was named late, may be
        paid: then it is held. The sender's word wins over a hold by others, too, who took it for
        dead. Raises `LedgerMoved` where another claim has the clip by now, or this one has a job.
        """
        states = (*BEFORE_A_JOB, EntryState.RELEASED, EntryState.HELD)
        now = self._same_claim(version)
        if now is None or now.entry.state not in states or now.entry.job_id is not None:
            raise LedgerMoved(
                "somebody else changed the record while it was given back",
                clip_key=version.entry.clip_key,
            )
        if now.entry.state is EntryState.RELEASED:
            return now
        return self._give_back(now, why)

    def release_dead_claim(self, version: VersionedEntry, why: str) -> VersionedEntry:
        """Release a claim whose process died before it could send.

        Only a `claimed` record is released.

        Raises `LedgerMoved` if the record has changed since it was read.
        """
        if version.entry.state is not EntryState.CLAIMED:
            raise LedgerMoved(
                f"the record is {version.entry.state}, not claimed",
                clip_key=version.entry.clip_key,
            )
        return self._give_back(version, why)

    def _give_back(self, version: VersionedEntry, why: str) -> VersionedEntry:
        if version.entry.late_jobs or version.entry.maybe_paid_usd:
            self.bucket.put(_marker("held", version.entry), b"", "text/plain")
            note = f"{why}; an earlier request of this clip may be paid"
            at_most_usd = version.entry.at_most_usd
            if not version.entry.late_jobs:
                # The latest request has cost nothing; only the earlier ones may be paid.
                at_most_usd = version.entry.maybe_paid_usd
            return self._move(
                version, EntryState.HELD, note, is_answered=True, at_most_usd=at_most_usd
            )
        moved = self._move(version, EntryState.RELEASED, why, job_id=None)
        self._remove_markers(version.entry)
        return moved

    def failed(self, version: VersionedEntry, why: str, *, retryable: bool) -> VersionedEntry:
        """Note that the job ended without a video, which costs nothing.

        The caller has confirmed it.

        `is_mine` says that nobody had before. The marker of a retryable failure stays until the job
        was read once more (`close_failure`). Where another job of the clip was named late, the clip
        is held for that one.
        """
        if version.entry.late_jobs or version.entry.maybe_paid_usd:
            self.bucket.put(_marker("held", version.entry), b"", "text/plain")
            note = f"job {version.entry.job_id} failed: {why}; another request may be paid"
            failed = version.entry.as_attempt("failed")
            return self._move(
                version,
                EntryState.HELD,
                note,
                job_id=None,
                is_answered=True,
                attempts=(*version.entry.attempts, failed),
            )
        moved = self._move(
            version,
            EntryState.FAILED,
            why,
            retryable=retryable,
            failed_at=datetime.now(UTC),
        )
        if not retryable:
            self._remove_markers(version.entry)
        return moved

    def close_failure(self, entry: Entry) -> None:
        """Take a failed clip out of the index of open ones; its job was read once more."""
        self._remove_markers(entry)

    def reopen(self, version: VersionedEntry, job_id: str, why: str) -> VersionedEntry:
        """Note that a job which counted as failed or given up goes on, or has a video after all."""
        entry = version.entry
        earlier = next((each for each in entry.attempts if each.job_id == job_id), None)
        self.bucket.put(_marker("open", entry), b"", "text/plain")
        if earlier is None:
            return self._move(version, EntryState.SUBMITTED, why, job_id=job_id, charged_usd=None)
        others = [each for each in entry.attempts if each is not earlier]
        if entry.job_id is not None:
            others.append(entry.as_attempt("failed"))
        self.bucket.put(layout.open_marker(entry.clip_key, earlier.claim), b"", "text/plain")
        return self._move(
            version,
            EntryState.SUBMITTED,
            why,
            job_id=job_id,
            claim=earlier.claim,
            attempts=tuple(others),
            sending_since=earlier.sent_at,
            sent_to=earlier.sent_to,
            account=earlier.account,
            charged_usd=None,
        )

    def give_up(self, version: VersionedEntry, why: str, charged_usd: Decimal) -> VersionedEntry:
        """Note that a person waits no longer. The clip is never claimed again by itself.

        `charged_usd` is what the latest request counts for; earlier ones whose outcome is unknown
        count at their worst price. Its marker stays while a job is known: a video that comes late
        is still archived.
        """
        attempts = [_at_worst(each) for each in version.entry.attempts]
        moved = self._move(
            version,
            EntryState.GIVEN_UP,
            why,
            charged_usd=charged_usd,
            attempts=tuple(attempts),
        )
        if not moved.entry.all_job_ids:
            self._remove_markers(version.entry)
        else:
            self.bucket.delete(_marker("held", version.entry))
        return moved

    def retry(
        self, version: VersionedEntry, why: str, charged_usd: Decimal = NOTHING
    ) -> VersionedEntry:
        """Note that a person wants another attempt, whatever the limits.

        The caller has read the jobs.

        `charged_usd`: what the latest attempt has cost.
        """
        entry = version.entry
        if entry.state is not EntryState.GIVEN_UP:
            entry = entry.model_copy(update={"charged_usd": charged_usd})
        match entry.state:
            case EntryState.FAILED:
                ended = entry.as_attempt("failed")
            case EntryState.GIVEN_UP:
                ended = entry.as_attempt("given_up")
            case _:
                ended = entry.as_attempt("gone")
        following = _next_attempt(entry, ended)
        attempts = [_decided(each) for each in following.attempts]
        moved = self._move(
            version,
            EntryState.RELEASED,
            why,
            job_id=None,
            attempts=tuple(attempts),
            attempt=following.attempt,
            maybe_paid_usd=NOTHING,
        )
        self._remove_markers(version.entry)
        return moved

    def note_attempts(
        self, version: VersionedEntry, attempts: tuple[Attempt, ...], note: str
    ) -> VersionedEntry:
        """Write what became of earlier attempts into a record whose state stays as it is.

        A late job that is among the attempts now is late no more.
        """
        named = {each.job_id for each in attempts}
        late_jobs = tuple(each for each in version.entry.late_jobs if each.job_id not in named)
        entry = version.entry.moved(
            version.entry.state, note, attempts=attempts, late_jobs=late_jobs
        )
        return self._replace(version, entry)

    def _replace(self, version: VersionedEntry, entry: Entry) -> VersionedEntry:
        etag = self.bucket.replace(_path(entry.clip_key), _bytes(entry), version.etag)
        if etag is None:
            raise LedgerMoved(
                "somebody else changed the record at the same time", clip_key=entry.clip_key
            )
        return VersionedEntry(entry, etag, 0.0, is_mine=True)

    def archived(self, version: VersionedEntry, uri: str, charged_usd: Decimal) -> VersionedEntry:
        """Note that the paid video is safe, and what it cost.

        `is_mine` says that nobody had before.

        Its marker stays while the cost of an earlier request is open (see `finish_attempts`).
        """
        moved = self._move(version, EntryState.ARCHIVED, uri, charged_usd=charged_usd)
        if not moved.entry.open_attempts:
            self._remove_markers(moved.entry)
        return moved

    def close_archived(self, entry: Entry) -> None:
        """Take an archived clip out of the index; the costs of all its requests are known."""
        self._remove_markers(entry)

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
        if version.entry.state is EntryState.GIVEN_UP:
            # Its marker may be gone, and without one no sweep would fetch the video.
            self.bucket.put(_marker("open", version.entry), b"", "text/plain")
        note = f"job {job_id} adopted by {who}"
        moved = self._move(
            version,
            EntryState.SUBMITTED,
            note,
            job_id=job_id,
            adopted_by=who,
            late_jobs=tuple(others),
            charged_usd=None,
        )
        self.bucket.delete(_marker("held", version.entry))
        return moved

    def correct_job(self, version: VersionedEntry, job_id: str, who: str) -> VersionedEntry:
        """Put another job in the place of one that a person named wrongly."""
        note = f"job {job_id} named by {who} in place of {version.entry.job_id}"
        entry = version.entry.moved(EntryState.SUBMITTED, note, job_id=job_id, adopted_by=who)
        return self._replace(version, entry)

    def open_markers(self) -> Iterator[Marker]:
        """Yield the markers of everything that is not finished, a page of the store at a time."""
        for name, age in self.bucket.ages(layout.OPEN_MARKERS):
            key, claim = layout.parse_marker(name)
            yield Marker(name, key, claim, age)

    def held_markers(self) -> Iterator[Marker]:
        """Yield the markers of everything that waits for a decision."""
        for name, age in self.bucket.ages(layout.HELD_MARKERS):
            key, claim = layout.parse_marker(name)
            yield Marker(name, key, claim, age)

    def all_keys(self, beginning: str = "") -> Iterator[str]:
        """Yield the keys of all records, or of those that begin so."""
        for name in self.bucket.names(layout.LEDGER_RECORDS + beginning):
            yield name.removeprefix(layout.LEDGER_RECORDS).removesuffix(".json")

    def all_records(self) -> Iterator[VersionedEntry]:
        """Yield every record, in the order of the listing. One read each, several at once."""
        for version in map_in_threads(self.read, self.all_keys()):
            if version is not None:
                yield version

    def clear(self, marker: Marker) -> None:
        """Remove a marker that stands for nothing."""
        self.bucket.delete(marker.name)

    def _move(
        self, version: VersionedEntry, state: EntryState, note: str, **changes: object
    ) -> VersionedEntry:
        """Change a record from the version that was read.

        An id that was added meanwhile is kept.
        """
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
        """Take a finished record out of the index.

        What trouble with the store leaves there, a sweep removes.
        """
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


def _next_attempt(entry: Entry, ended: Attempt) -> Entry:
    """Return the record with its latest request among the earlier ones, ready for the next."""
    return entry.model_copy(
        update={"attempt": entry.attempt + 1, "attempts": (*entry.attempts, ended)}
    )


def _at_worst(attempt: Attempt) -> Attempt:
    if attempt.state != "unknown" or attempt.charged_usd is not None:
        return attempt
    return attempt.model_copy(update={"charged_usd": attempt.at_most_usd})


def _decided(attempt: Attempt) -> Attempt:
    """Return a failed attempt as one that a person has decided about: it stops no other."""
    if attempt.state != "failed":
        return attempt
    return attempt.model_copy(update={"state": "gone"})


def _not_taken(attempt: Attempt) -> Attempt:
    if attempt.state != "unknown":
        return attempt
    return attempt.model_copy(update={"charged_usd": NOTHING})


def _with_late_job(entry: Entry, sender: Entry, job_id: str, state: EntryState) -> Entry:
    if entry.state is EntryState.GIVEN_UP and entry.claim == sender.claim and entry.job_id is None:
        # The job of the very request whose worst price was booked: its own price replaces that.
        return entry.moved(state, f"job {job_id} was named late", job_id=job_id)
    late = LateJob(job_id=job_id, claim=sender.claim, at=datetime.now(UTC))
    own_job_id = entry.job_id
    if entry.state is EntryState.FAILED:
        own_job_id = None
    return entry.moved(
        state,
        f"job {job_id} was named late; it may be paid too",
        late_jobs=(*entry.late_jobs, late),
        job_id=own_job_id,
    )


def _differ_in_late_jobs_only(one: Entry, other: Entry) -> bool:
    """Whether nothing was decided between two versions: only late ids were added."""
    if one.claim != other.claim or one.state is not other.state or one.job_id != other.job_id:
        return False
    return one.late_jobs != other.late_jobs
