"""The record of one clip's money: its states, its attempts, and what is known about each job."""

import hashlib
import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from prefect_kling.kling.server_words import printable
from prefect_kling.studio.money.orders import ClipOrder

NOTHING = Decimal(0)
# A clip queued for a busy API is released and claimed many times: the record keeps the latest
# steps. What money depends on is never only in the history.
HISTORY = 50
LONGEST_NOTE = 4000
"""Characters of one note in a record."""


def _note(text: str) -> str:
    """Keep a note short and printable; those of older versions are not always."""
    return printable(text[:LONGEST_NOTE])


Note = Annotated[str, AfterValidator(_note)]


class EntryState(StrEnum):
    """What is known about the money of one clip."""

    CLAIMED = "claimed"
    """One process may send the request; nothing has left yet."""
    SENDING = "sending"
    """The request may have left."""
    INTENT = "intent"
    """What versions before 0.3 wrote for both of the above; it is treated like `sending`."""
    SUBMITTED = "submitted"
    HELD = "held"
    RELEASED = "released"
    FAILED = "failed"
    GIVEN_UP = "given_up"
    """A person has decided to wait no longer; it is never claimed again by itself."""
    ARCHIVED = "archived"


MAY_HAVE_LEFT = (EntryState.SENDING, EntryState.INTENT)
"""States in which a request may be on its way without a job id."""
BEFORE_A_JOB = (EntryState.CLAIMED, *MAY_HAVE_LEFT)
"""States in which the sender of a request has not reported its outcome yet."""


class LateJob(BaseModel):
    """A job whose id arrived when the clip's record had moved on without it; it may be paid."""

    model_config = ConfigDict(frozen=True)

    job_id: str
    claim: str
    at: datetime


class Attempt(BaseModel):
    """An earlier paid request for the same clip. Attempts are never removed from a record."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    number: int
    """Which request of the clip it was; 0 for a job that was named late."""
    claim: str
    job_id: str | None = None
    """The job, if its id is known."""
    state: Literal["failed", "unknown", "given_up", "gone", "paid"]
    """How it ended. `unknown`: it was sent again by choice. `paid`: it came late, and is kept
    beside the clip."""
    at_most_usd: Decimal
    """What this request alone may have cost."""
    charged_usd: Decimal | None = None
    """What was booked for it in the end; None while its money is still set aside."""
    sent_to: str = ""
    account: str = ""
    sent_at: datetime | None = None
    ended_at: datetime | None = None
    why: Note = ""
    film: str | None = None
    """The film that paid for it. None in records of versions that kept it for the latest request
    only."""
    tags: dict[str, str] | None = None
    """The tags of whoever paid for it; None as with `film`."""


class Event(BaseModel):
    """One line of a record's history."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    state: EntryState
    note: Note = ""


@dataclass(frozen=True)
class Own:
    """What the sender of a request knows of its record; nothing unless it has just noted the job.

    Records are equal whatever is known of them.
    """

    etag: str = field(default="", compare=False)
    """The version that it wrote. While the record has it, nobody has decided anything since."""
    has_nothing_set_aside: bool = field(default=False, compare=False)
    """Whether the archive had no accounts when the request was sent."""


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
    """What the clip may cost at worst, `maybe_paid_usd` included."""
    attempt: int = 1
    """How many paid requests this clip has had, this one included; failed ones are not charged."""
    sent_to: str = ""
    """The API it is sent to."""
    account: str = ""
    """Salted fingerprint of the API key (see `KlingClient.account`); empty in records of older
    versions."""
    film: str = ""
    """The film it was asked for, if any; its budget paid for it."""
    tags: dict[str, str] = {}
    """Who paid for it, such as project and client. Runs that find the clip leave them as they
    are."""
    adopted_by: str = ""
    """Who named the job, where its sender did not."""
    silent_seconds: float | None = None
    """After how many seconds without a word its sender counts as dead, by the sender's own
    settings."""
    sending_since: datetime | None = None
    """When the latest request was about to leave, by the sender's clock."""
    job_id: str | None = None
    """The API's id of the paid job. Of a held clip: the id that stood in an answer, which may be
    its job."""
    is_answered: bool = False
    """Whether the sender of a held clip reported that its request had ended."""
    maybe_paid_usd: Decimal = NOTHING
    """What earlier requests may have cost whose outcome is unknown: they were sent again by
    choice."""
    attempts: tuple[Attempt, ...] = ()
    """The earlier paid requests for this clip, oldest first."""
    late_jobs: tuple[LateJob, ...] = ()
    """Jobs of earlier claims whose ids arrived too late to become the clip's job."""
    charged_usd: Decimal | None = None
    """What it cost in the end: the API's own figure when it offers one, else the price table's."""
    retryable: bool = False
    """Whether a failed job may be tried once more."""
    failed_at: datetime | None = None
    """When the failure of the latest job was confirmed."""
    claim: str
    """Random mark of the process that may send the request."""
    by: str
    """Machine and process that wrote this version."""
    history: tuple[Event, ...] = ()
    """What happened last, oldest first."""
    own: Own = Field(default=Own(), exclude=True, repr=False)
    """In memory only: what this very process knows of it as the sender of its request."""

    @property
    def request_usd(self) -> Decimal:
        """What the latest request alone may cost."""
        return self.at_most_usd - self.maybe_paid_usd

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
    def all_job_ids(self) -> tuple[str, ...]:
        """Every job this record knows of, those of earlier attempts included."""
        earlier = tuple(each.job_id for each in self.attempts if each.job_id is not None)
        return tuple(dict.fromkeys((*self.named_job_ids, *earlier)))

    @property
    def owned_job_ids(self) -> tuple[str, ...]:
        """The jobs that certainly are this clip's; those of a held clip were only named."""
        earlier = tuple(each.job_id for each in self.attempts if each.job_id is not None)
        if self.job_id is None or self.state is EntryState.HELD:
            return earlier
        return (*earlier, self.job_id)

    @property
    def open_attempts(self) -> tuple[Attempt, ...]:
        """The earlier requests whose cost is not known yet.

        A job that was named late counts as one.
        """
        attempts = [each for each in self.attempts if each.charged_usd is None]
        return (*attempts, *self.late_attempts)

    @property
    def late_attempts(self) -> tuple[Attempt, ...]:
        """The jobs that were named late and are neither the clip's own nor among its attempts."""
        known = {self.job_id, *(each.job_id for each in self.attempts)}
        late = [self._late_attempt(each) for each in self.late_jobs if each.job_id not in known]
        return tuple(late)

    def _late_attempt(self, late: LateJob) -> Attempt:
        return Attempt(
            number=0,
            claim=late.claim,
            job_id=late.job_id,
            state="unknown",
            at_most_usd=self.request_usd,
            sent_to=self.sent_to,
            account=self.account,
            ended_at=late.at,
            why="its id arrived late",
            film=self.film,
            tags=self.tags,
        )

    @property
    def has_latest_among_attempts(self) -> bool:
        """Whether the latest request has ended, and the clip is held for another one."""
        return any(each.claim == self.claim for each in self.attempts)

    @property
    def is_latest_not_taken(self) -> bool:
        """Whether the clip is held for earlier requests only: the latest was certainly not taken.

        Such a record counts nothing for it (see `Ledger.give_back`).
        """
        is_held = self.state is EntryState.HELD
        return is_held and self.maybe_paid_usd > NOTHING and self.request_usd == NOTHING

    @property
    def sent_at(self) -> datetime | None:
        """When the latest request was about to be sent, by the sender's clock.

        None if that is not known.
        """
        if self.sending_since is not None:
            return self.sending_since
        for event in reversed(self.history):
            if event.state in MAY_HAVE_LEFT:
                return event.at
        return None

    @property
    def last_note(self) -> str:
        """What was noted last."""
        if not self.history:
            return ""
        return self.history[-1].note

    def failures_in_a_row(self, outage_seconds: float, now: datetime) -> int:
        """Count the latest failures, less than `outage_seconds` apart and before `now`."""
        ends = [each.ended_at for each in self.attempts if each.state == "failed"]
        if self.state is EntryState.FAILED:
            ends.append(self.failed_at or self.history[-1].at)
        count = 0
        later = now
        for end in reversed(ends):
            if end is None or (later - end).total_seconds() >= outage_seconds:
                break
            count += 1
            later = end
        return count

    @property
    def booked_usd(self) -> Decimal:
        """What all requests for this clip have cost, as far as that is known."""
        usd = sum((each.charged_usd or NOTHING for each in self.attempts), NOTHING)
        if self.state in (EntryState.ARCHIVED, EntryState.GIVEN_UP):
            usd += self.charged_usd or NOTHING
        return usd

    def reservation_of(self, attempt: Attempt) -> str:
        """Return under which claim the money of an earlier request is set aside.

        A job that shares its claim with another request has a name of its own there.
        """
        shares_its_claim = attempt.number == 0 or attempt.claim == self.claim
        if attempt.job_id is None or not shares_its_claim:
            return attempt.claim
        digest = hashlib.sha256(attempt.job_id.encode("utf-8", "replace")).hexdigest()
        return f"job-{digest[:32]}"

    def spent_on(self, claim: str) -> Decimal | None:
        """Return what was spent of the money set aside under a claim; None while its end is open.

        A claim that is neither the record's own nor one of its attempts was given back: nothing was
        ever sent for it.
        """
        for attempt in (*self.attempts, *self.open_attempts):
            if self.reservation_of(attempt) == claim:
                return attempt.charged_usd
        if claim != self.claim:
            return self._spent_on_another(claim)
        match self.state:
            case EntryState.RELEASED:
                return NOTHING
            case EntryState.HELD if self.is_latest_not_taken:
                return NOTHING
            case EntryState.FAILED if not self.retryable:
                return NOTHING
            case EntryState.ARCHIVED | EntryState.GIVEN_UP:
                return self.charged_usd
        return None

    def _spent_on_another(self, claim: str) -> Decimal | None:
        is_late = any(late.claim and claim.startswith(late.claim) for late in self.late_jobs)
        # Versions before 0.3 sent again by choice without listing the request before.
        in_doubt = ("unknown", "paid")
        listed = [each.at_most_usd for each in self.attempts if each.state in in_doubt]
        if is_late or sum(listed, NOTHING) < self.maybe_paid_usd:
            return None
        return NOTHING

    def as_attempt(
        self, state: Literal["failed", "unknown", "given_up", "gone", "paid"]
    ) -> Attempt:
        """Return the latest request as an attempt, for a record that goes on to the next."""
        return Attempt(
            number=self.attempt,
            claim=self.claim,
            job_id=self.job_id,
            state=state,
            at_most_usd=self.request_usd,
            charged_usd=self.charged_usd,
            sent_to=self.sent_to,
            account=self.account,
            sent_at=self.sent_at,
            ended_at=self.failed_at or datetime.now(UTC),
            why=self.last_note,
            film=self.film,
            tags=self.tags,
        )

    def moved(self, state: EntryState, note: str = "", **changes: object) -> "Entry":
        """Return the record after one step, with the step in its history."""
        event = Event(at=datetime.now(UTC), state=state, note=note)
        return self.model_copy(
            update={
                "state": state,
                "by": this_process(),
                "history": (*self.history, event)[-HISTORY:],
                **changes,
            }
        )


def this_process() -> str:
    """Return the machine and process as records name them."""
    return f"{socket.gethostname()}:{os.getpid()}"
