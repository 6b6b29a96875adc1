"""What a check found, as facts. The sentence is formed where it is printed."""

from dataclasses import dataclass
from enum import StrEnum, auto


class Status(StrEnum):
    """The result of a check. Only a fault stands in the way of a run."""

    OK = "ok"
    HINT = "hint"
    FAULT = "fault"
    SKIPPED = "skipped"


class Reason(StrEnum):
    """Why a check came to its status. Comments name the facts in `subject` and `value`."""

    # Any check.
    CHECK_FAILED = auto()  # value: what was raised
    NEEDS_OTHER_CHECKS = auto()  # value: names of the checks that did not succeed

    # Prefect server and blocks.
    SERVER_OK = auto()  # subject: address, value: version
    CLOUD_OK = auto()
    SERVER_NOT_CONFIGURED = auto()
    SERVER_UNREACHABLE = auto()  # subject: address, value: what was raised
    SERVER_TOO_OLD = auto()  # subject: version of this client, value: version of the server
    BLOCK_TYPES_REGISTERED = auto()
    BLOCK_TYPES_MISSING = auto()  # value: slugs
    CREDENTIALS_LOADED = auto()  # subject: name of the block
    ARCHIVE_LOADED = auto()  # subject: name of the block, value: URI of the archive
    BLOCK_MISSING = auto()  # subject: block type, value: name of the block
    BLOCK_UNREADABLE = auto()  # subject: block type, value: name of the block
    BLOCK_INVALID = auto()  # subject: block type and name, value: fields and broken rules

    # API.
    ADDRESS_OK = auto()  # subject: address
    SERVER_ERROR = auto()  # subject: address, value: HTTP status
    KEY_ACCEPTED = auto()
    BALANCE_OK = auto()  # subject: currency, value: amount
    BALANCE_EMPTY = auto()  # subject: currency, value: amount

    # Clocks.
    CLOCK_OK = auto()  # subject: the other side, value: seconds that this machine is ahead
    CLOCK_UNKNOWN = auto()  # subject: the other side
    CLOCK_OFF = auto()  # subject: the other side, value: seconds that this machine is ahead

    # Store.
    NOT_ENCRYPTED = auto()  # subject: address
    BUCKET_OK = auto()  # subject: name of the bucket
    PERMISSIONS_OK = auto()
    PERMISSIONS_MISSING = auto()  # value: what was refused, and the store's answers
    STORE_INCONSISTENT = auto()
    CONDITIONS_HONOURED = auto()
    LINK_OK = auto()
    LINK_FAILED = auto()  # value: HTTP status
    LINK_UNREACHABLE = auto()  # subject: host of the link, value: address of the API
    LINKS_NOT_USED = auto()
    UPLOAD_OK = auto()
    UPLOADS_NOT_USED = auto()
    UPLOAD_FAILED = auto()  # subject: host of the address, value: HTTP status

    # Receiver.
    NO_RECEIVER = auto()
    WEBHOOK_ONLY = auto()
    RECEIVER_UNHEALTHY = auto()  # subject: address, value: HTTP status
    CALLS_UNREACHABLE = auto()  # subject: host of the address, value: address of the API
    NO_CALLS = auto()
    CALL_REFUSED = auto()
    CALL_ACCEPTED = auto()  # value: HTTP status
    CALL_REFUSED_BY_OTHER = auto()

    # Upkeep.
    SWEEPS_SCHEDULED = auto()
    SWEEPS_NOT_DEPLOYED = auto()  # subject: name of the flow
    SWEEPS_NOT_SCHEDULED = auto()
    SWEEPS_PAUSED = auto()  # subject: name of the deployment
    NO_CLIP_HELD = auto()
    CLIPS_HELD = auto()  # value: how many


@dataclass(frozen=True)
class Finding:
    """What one check found: its status, the facts, and for hints and faults what to do."""

    status: Status
    reason: Reason
    subject: str = ""
    value: str | int | float = ""
    fix: str = ""
    check: str = ""
    """Name of the check; set by the examination."""


def ok(reason: Reason, subject: str = "", value: str | int | float = "") -> Finding:
    """All is well."""
    return Finding(Status.OK, reason, subject, value)


def hint(reason: Reason, subject: str = "", value: str | int | float = "", *, fix: str) -> Finding:
    """Runs work, but a person should know."""
    return Finding(Status.HINT, reason, subject, value, fix)


def fault(reason: Reason, subject: str = "", value: str | int | float = "", *, fix: str) -> Finding:
    """Runs would fail, or could not be trusted."""
    return Finding(Status.FAULT, reason, subject, value, fix)
