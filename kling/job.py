"""What comes back: a paid generation and its state, read leniently."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import islice

from pydantic import BaseModel, ConfigDict, JsonValue

from prefect_kling.kling.gate import parse_json
from prefect_kling.kling.job_ids import as_job_id
from prefect_kling.kling.links import RESULT_FIELDS, is_picture, read_links
from prefect_kling.kling.server_words import words

RETENTION = timedelta(days=7)
"""How long the API keeps a video."""
# Every other code, known (UPSTREAM_BUSY, TIMEOUT, …) or not, may be a passing one.
FINAL_FAIL_CODES = frozenset({"CONTENT_MODERATION", "INVALID_INPUT"})
_DEEPEST = 8
_MOST_LINKS = 20
_SHORT = 80
_MODERATION_WORDS = ("content policy", "moderation", "risk control", "sensitive", "violation")


class JobState(StrEnum):
    """Where a job stands. Anything the API says beyond these four counts as processing."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"

    @property
    def is_terminal(self) -> bool:
        """Whether the job will never change again."""
        return self in (JobState.COMPLETED, JobState.FAILED)


_SPELLINGS = {
    **dict.fromkeys(
        ("pending", "submitted", "queued", "queueing", "waiting", "created"), JobState.PENDING
    ),
    **dict.fromkeys(("processing", "running", "in_progress", "generating"), JobState.PROCESSING),
    **dict.fromkeys(
        ("completed", "complete", "succeed", "succeeded", "success", "finished"), JobState.COMPLETED
    ),
    **dict.fromkeys(
        ("failed", "fail", "failure", "error", "cancelled", "canceled"), JobState.FAILED
    ),
}


class VideoJob(BaseModel):
    """One paid generation on Kling's side, as it was last seen."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    job_id: str
    """The API's `taskId`."""
    state: JobState
    """Where the job stands; as read from the API, `completed` always has a URL."""
    said_state: str = ""
    """The state in the server's own spelling."""
    model: str = ""
    """The model as the server names it, with its internal prefix."""
    urls: tuple[str, ...] = ()
    """Links to the result, good for 7 days; the likeliest first, and never a picture."""
    fail_code: str | None = None
    """Why it failed, as a code."""
    fail_words: str = ""
    """Why it failed, in the server's words."""
    retryable: bool = False
    """Whether a new attempt of a failed job makes sense."""
    created_at: datetime | None = None
    """When the API took the job."""
    completed_at: datetime | None = None
    """When the API finished it."""
    raw: dict[str, JsonValue] = {}
    """The reply, its texts cut, and links without their paths."""

    @property
    def is_understood(self) -> bool:
        """Whether the server used a state known here; an unknown one counts as processing."""
        return self.said_state.lower() in _SPELLINGS

    @property
    def seconds(self) -> float | None:
        """Time from creation to completion by the server's clock."""
        if self.created_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.created_at).total_seconds()

    @classmethod
    def read(cls, data: Mapping[str, JsonValue], job_id: str | None = None) -> "VideoJob | None":
        """Read a job from a reply's `data` that has passed the gate.

        None when no job id can be found.

        Spellings, missing fields and unknown states are tolerated: a completed job
        without a URL is still processing.
        """
        found = next(_ids(data), job_id)
        if not found:
            return None
        said = words(_text(data, "state", "status", "task_status"), _SHORT)
        state = _SPELLINGS.get(said.lower(), JobState.PROCESSING)
        links = dict.fromkeys(islice(_urls(dict(data), depth=0), _MOST_LINKS))
        if state is JobState.COMPLETED and not links:
            state = JobState.PROCESSING
        why = _text(data, "failMsg", "fail_msg", "task_status_msg", "error")
        code = words(_text(data, "failCode", "fail_code"), _SHORT)
        retryable = False
        if state is JobState.FAILED:
            retryable = _is_retryable(data.get("retryable"), code, why)
        return cls(
            job_id=found,
            state=state,
            said_state=said,
            model=words(_text(data, "model"), _SHORT),
            urls=tuple(links),
            fail_code=code or None,
            fail_words=words(why),
            retryable=retryable,
            created_at=_time(_first(data, "createTime", "created_at")),
            completed_at=_time(_first(data, "completeTime", "updated_at")),
            raw={words(name, _SHORT): _kept(value) for name, value in data.items()},
        )


def _ids(data: Mapping[str, JsonValue]) -> Iterator[str]:
    for name in ("taskId", "task_id", "id"):
        job_id = as_job_id(data.get(name))
        if job_id is not None:
            yield job_id


def _text(data: Mapping[str, JsonValue], *names: str) -> str:
    """Return the first of these fields that says something.

    An object in its place as it is written.
    """
    found = _first(data, *names)
    if isinstance(found, dict | list):
        return json.dumps(found, ensure_ascii=False)
    return str(found or "")


def _kept(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return words(value)
    if isinstance(value, list):
        return [_kept(item) for item in value]
    if isinstance(value, dict):
        return {words(name, _SHORT): _kept(inner) for name, inner in value.items()}
    return value


def _first(data: Mapping[str, JsonValue], *names: str) -> JsonValue:
    for name in names:
        if data.get(name) not in (None, ""):
            return data[name]
    return None


def _is_retryable(said: JsonValue, code: str, why: str) -> bool:
    """The server's own word wins over its code, the code over the text."""
    if isinstance(said, bool):
        return said
    if code:
        return code.upper() not in FINAL_FAIL_CODES
    # Without any reason, nothing says that the request is at fault.
    return not any(word in why.lower() for word in _MODERATION_WORDS)


def _urls(data: JsonValue, depth: int) -> Iterator[str]:
    """Find result links wherever a known variant puts them."""
    if depth > _DEEPEST:
        return
    match data:
        case str() if data.lstrip().startswith(("{", "[")):
            # `resultJson` is JSON inside a string; one that cannot be read holds no link.
            with suppress(ValueError, RecursionError):
                yield from _urls(parse_json(data), depth + 1)
        case str():
            for link in read_links(data):
                if not is_picture(link):
                    yield link
        case list():
            for item in data:
                yield from _urls(item, depth + 1)
        case dict():
            for name in RESULT_FIELDS:
                yield from _urls(data.get(name), depth + 1)


def _time(value: JsonValue) -> datetime | None:
    """Epoch milliseconds, the page's form; anything else is not worth failing for."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e14:
        return datetime.fromtimestamp(value / 1000, UTC)
    return None
