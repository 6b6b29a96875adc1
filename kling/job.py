"""What comes back: a paid generation and its state, read leniently."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, JsonValue

from prefect_kling.kling.links import is_picture, read_links
from prefect_kling.kling.server_words import without_link_paths

RETENTION = timedelta(days=7)
"""How long the API keeps a video."""
# Every other code, known (UPSTREAM_BUSY, TIMEOUT, …) or not, may be a passing one.
FINAL_FAIL_CODES = frozenset({"CONTENT_MODERATION", "INVALID_INPUT"})
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
    """The reply as it came."""

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
        """Read a job from a reply's `data`; None when no job id can be found.

        Spellings, missing fields and unknown states are tolerated: a completed job
        without a URL is still processing.
        """
        found = _first(data, "taskId", "task_id", "id") or job_id
        if not found:
            return None
        said = str(_first(data, "state", "status", "task_status") or "").strip()
        state = _SPELLINGS.get(said.lower(), JobState.PROCESSING)
        urls = tuple(dict.fromkeys(_urls(dict(data), depth=0)))
        if state is JobState.COMPLETED and not urls:
            state = JobState.PROCESSING
        words = str(_first(data, "failMsg", "fail_msg", "task_status_msg", "error") or "")
        code = _first(data, "failCode", "fail_code")
        retryable = False
        if state is JobState.FAILED:
            retryable = _is_retryable(data.get("retryable"), code, words)
        return cls(
            job_id=str(found),
            state=state,
            said_state=said,
            model=str(data.get("model") or ""),
            urls=urls,
            fail_code=str(code) if code else None,
            fail_words=without_link_paths(words),
            retryable=retryable,
            created_at=_time(_first(data, "createTime", "created_at")),
            completed_at=_time(_first(data, "completeTime", "updated_at")),
            raw=dict(data),
        )


def _first(data: Mapping[str, JsonValue], *names: str) -> JsonValue:
    for name in names:
        if data.get(name) not in (None, ""):
            return data[name]
    return None


def _is_retryable(said: JsonValue, code: JsonValue, words: str) -> bool:
    """The server's own word wins over its code, the code over the text."""
    if isinstance(said, bool):
        return said
    if code:
        return str(code).upper() not in FINAL_FAIL_CODES
    # Without any reason, nothing says that the request is at fault.
    return not any(word in words.lower() for word in _MODERATION_WORDS)


def _urls(data: JsonValue, depth: int) -> Iterator[str]:
    """Find result links wherever a known variant puts them."""
    if depth > _DEEPEST:
        return
    match data:
        case str() if data.lstrip().startswith(("{", "[")):
            # `resultJson` is JSON inside a string; one that cannot be read holds no link.
            with suppress(ValueError, RecursionError):
                yield from _urls(json.loads(data), depth + 1)
        case str():
            for link in read_links(data):
                if not is_picture(link):
                    yield link
        case list():
            for item in data:
                yield from _urls(item, depth + 1)
        case dict():
            for name in _URL_PLACES:
                yield from _urls(data.get(name), depth + 1)


_DEEPEST = 8
_URL_PLACES = (
    "resultUrls", "result_urls", "resultUrl", "result_url", "videoUrl", "video_url", "urls", "url",
    "downloadUrl", "download_url", "resultJson", "result_json", "task_result", "videos", "video",
    "result", "output", "outputs",
)  # fmt: skip


def _time(value: JsonValue) -> datetime | None:
    """Epoch milliseconds, the page's form; anything else is not worth failing for."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e14:
        return datetime.fromtimestamp(value / 1000, UTC)
    return None
