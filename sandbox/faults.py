"""Faults: rules that spoil the next answers of the sandbox, in their order."""

import threading
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    model_validator,
)

Call = Literal["create", "get", "file", "balance", "record", "upload"]
_ONLY_FOR: dict[str, tuple[Call, ...]] = {
    "cut_after": ("file",),
    "truncate": ("file",),
    "replace": ("file",),
    "expire": ("file",),
    "append": ("file",),
    "webm": ("file",),
    "gzip": ("file",),
    "media_type": ("file",),
    "promise": ("file",),
    "slow": ("file",),
    "damage_range": ("file",),
    "state": ("get",),
    "links": ("get",),
    "envelope": ("get",),
    "no_url": ("get", "upload"),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FaultAction(_Strict):
    """What goes wrong: exactly one of these is set.

    `body` and `retry_after` go with `status`, and `links` may go with `state`.
    """

    status: Annotated[int, Field(ge=200, le=599)] | None = None
    """Answer with this HTTP status."""
    body: JsonValue = None
    """The body that goes with `status`: a string is sent as text, any other value as JSON.

    Without it the answer has the API's envelope. 204 and 304 never have a body.
    """
    retry_after: int | str | None = None
    """The Retry-After header that goes with `status`: seconds or a date."""
    code: int | None = None
    """Answer 200 with this code in the envelope."""
    html: Literal[True] | None = None
    """Answer 200 with an HTML page."""
    stall: Annotated[float, Field(gt=0, le=600)] | None = None
    """Send no answer for so many seconds, then close the connection."""
    drop: Literal[True] | None = None
    """Close the connection without any answer."""
    cut_after: Annotated[int, Field(ge=0)] | None = None
    """Announce the whole length of a file, and close the connection after so many bytes."""
    truncate: Annotated[int, Field(ge=0)] | None = None
    """Serve only the first bytes of a file, as if it were that short."""
    replace: Literal["html", "picture"] | None = None
    """Serve an HTML page or a PNG, status 200, in place of a file."""
    append: Literal["zeros", "json"] | None = None
    """Serve a file with bytes behind its last box: a kilobyte of zeros, or a label in JSON."""
    webm: Literal[True] | None = None
    """Serve a file as WebM."""
    gzip: Literal[True] | None = None
    """Serve a file packed with gzip, whether or not the caller accepts that."""
    media_type: str | None = None
    """Serve a file under this content type."""
    promise: Annotated[int, Field(gt=0)] | None = None
    """Announce so many bytes more than a file has, and close the connection at its end."""
    slow: Annotated[float, Field(gt=0)] | None = None
    """Serve a file with so many bytes a second."""
    damage_range: Literal[True] | None = None
    """Serve wrong bytes in answer to a request for a range; other requests are left alone."""
    state: str | None = None
    """Report this state, without a link unless `links` is given."""
    links: list[str] | None = None
    """Report these links of a completed job; `{link}` stands for the true one, `{host}` for it without its scheme."""
    envelope: int | None = None
    """Put this code into the envelope around the true data."""
    no_url: Literal[True] | None = None
    """Leave the link out: of the next poll of a completed job, or of the answer to an upload."""
    expire: Literal[True] | None = None
    """Make the link of a file useless; the next poll gives another."""

    @property
    def kind(self) -> str:
        """The name of the one thing that goes wrong."""
        kinds = self._kinds()
        return kinds[0] if kinds else ""

    def _kinds(self) -> list[str]:
        companions = {"body", "retry_after"}
        if self.state is not None:
            companions.add("links")
        return list(self.model_dump(exclude_none=True, exclude=companions))

    @model_validator(mode="after")
    def _check_one(self) -> "FaultAction":
        if len(self._kinds()) != 1:
            raise ValueError("a fault does exactly one thing")
        if self.status is None and (self.body is not None or self.retry_after is not None):
            raise ValueError("body and retry_after go with status")
        return self


class Fault(_Strict):
    """One rule: which call goes wrong, how, and how often."""

    on: Call
    do: FaultAction
    times: Annotated[int, Field(ge=1)] | None = 1
    """How often; null means always."""
    after_commit: bool = False
    """Create only: the job is made first, and then the answer goes wrong."""
    job_id: str | None = None
    """Only calls about this job; any job if not given."""

    @model_validator(mode="after")
    def _check_call(self) -> "Fault":
        only_on = _ONLY_FOR.get(self.do.kind, (self.on,))
        if self.on not in only_on:
            calls = " or ".join(repr(call) for call in only_on)
            raise ValueError(f"{self.do.kind} only makes sense on {calls}")
        if self.after_commit and self.on != "create":
            raise ValueError("after_commit only makes sense on 'create'")
        return self


_RULES = TypeAdapter(list[Fault])


def parse_faults(given: object) -> list[Fault]:
    """Read rules from JSON. Raises ValueError that names everything wrong in one line."""
    try:
        return _RULES.validate_python(given)
    except ValidationError as error:
        messages = []
        for found in error.errors():
            field = ".".join(str(part) for part in found["loc"])
            messages.append(f"{field}: {found['msg']}")
        raise ValueError("; ".join(messages)) from error


class Faults:
    """The rules in force. Safe for use by several threads.

    A call takes the first rule that names it. A rule is removed after its number of times.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def add(self, rules: list[Fault]) -> None:
        """Add rules after those in force."""
        with self._lock:
            self._rules += rules

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules = []

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rules in force as JSON, with how often they still apply."""
        with self._lock:
            return [rule.model_dump(exclude_none=True) for rule in self._rules]

    def take(self, on: Call, job_id: str | None, kinds: frozenset[str]) -> Fault | None:
        """Return the rule for a call and count it, if its kind is one of `kinds`.

        A rule of another kind is left for whoever applies that kind. It keeps later rules from
        being taken before it.
        """
        with self._lock:
            for index, rule in enumerate(self._rules):
                if rule.on != on or rule.job_id not in (None, job_id):
                    continue
                if rule.do.kind not in kinds:
                    return None
                if rule.times == 1:
                    del self._rules[index]
                elif rule.times is not None:
                    self._rules[index] = rule.model_copy(update={"times": rule.times - 1})
                return rule
        return None
