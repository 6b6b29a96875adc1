"""Misbehaviour on order: rules that spoil the next answers of the sandbox, one after the other."""

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

Call = Literal["create", "get", "file", "balance", "record"]
_ONLY_FOR: dict[str, Call] = {
    "cut_after": "file",
    "truncate": "file",
    "replace": "file",
    "expire": "file",
    "state": "get",
    "no_url": "get",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Deed(_Strict):
    """What goes wrong: exactly one of these is set, and `body` and `retry_after` go with `status`."""

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
    """Withhold the answer for so many seconds, then close the connection."""
    drop: Literal[True] | None = None
    """Close the connection without any answer."""
    cut_after: Annotated[int, Field(ge=0)] | None = None
    """Declare the whole length of a file, and close the connection after so many bytes of it."""
    truncate: Annotated[int, Field(ge=0)] | None = None
    """Serve only so many bytes of a file, as if it were that short."""
    replace: Literal["html"] | None = None
    """Serve an HTML page, status 200, in place of a file."""
    state: str | None = None
    """Report this state."""
    no_url: Literal[True] | None = None
    """Report completion without a link; waits for a poll of a completed job."""
    expire: Literal[True] | None = None
    """Let the link of a file die; the next poll hands out another."""

    @property
    def kind(self) -> str:
        """The name of the one thing that goes wrong."""
        return next(iter(self._kinds()), "")

    def _kinds(self) -> list[str]:
        given = self.model_dump(exclude_none=True, exclude={"body", "retry_after"})
        return list(given)

    @model_validator(mode="after")
    def _check_one(self) -> "Deed":
        if len(self._kinds()) != 1:
            raise ValueError("a fault does exactly one thing")
        if self.status is None and (self.body is not None or self.retry_after is not None):
            raise ValueError("body and retry_after go with status")
        return self


class Fault(_Strict):
    """One rule: which call goes wrong, how, and how often."""

    on: Call
    do: Deed
    times: Annotated[int, Field(ge=1)] | None = 1
    """How often; null means for ever."""
    after_commit: bool = False
    """Create only: the job is made first, then the answer goes wrong."""
    job_id: str | None = None
    """Only calls about this job; any job if not given."""

    @model_validator(mode="after")
    def _check_place(self) -> "Fault":
        fits = _ONLY_FOR.get(self.do.kind, self.on)
        if fits != self.on:
            raise ValueError(f"{self.do.kind} only makes sense on {fits!r}")
        if self.after_commit and self.on != "create":
            raise ValueError("after_commit only makes sense on 'create'")
        return self


_RULES = TypeAdapter(list[Fault])


def parse_faults(given: object) -> list[Fault]:
    """Read rules from JSON. Raises ValueError with all complaints in one line."""
    try:
        return _RULES.validate_python(given)
    except ValidationError as error:
        complaints = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ValueError("; ".join(complaints)) from error


class Faults:
    """The rules in force. A call meets the first rule that names it; a rule used up is gone. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[Fault] = []

    def add(self, rules: list[Fault]) -> None:
        """Append rules behind those in force."""
        with self._lock:
            self._rules += rules

    def clear(self) -> None:
        """Behave well again."""
        with self._lock:
            self._rules = []

    def listed(self) -> list[dict[str, Any]]:
        """Return the rules in force as JSON, with the times they have left."""
        with self._lock:
            return [rule.model_dump(exclude_none=True) for rule in self._rules]

    def take(self, on: Call, job_id: str | None, kinds: frozenset[str]) -> Fault | None:
        """Return the rule a call meets and use it up once, provided its kind is one of `kinds`.

        A rule of another kind is left for whoever performs that kind, and holds back the rules behind it.
        """
        with self._lock:
            for place, rule in enumerate(self._rules):
                if rule.on == on and rule.job_id in (None, job_id):
                    return self._use(place) if rule.do.kind in kinds else None
        return None

    def _use(self, place: int) -> Fault:
        rule = self._rules[place]
        if rule.times == 1:
            del self._rules[place]
        elif rule.times is not None:
            self._rules[place] = rule.model_copy(update={"times": rule.times - 1})
        return rule
