"""Faults: rules that spoil the next answers of the sandbox, in their order."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
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

from prefect_kling.sandbox.named_faults import CALLS, NAMED_FAULTS, Call

NAMED = "named"
"""The kind of a rule that changes answers or callbacks by the table of named faults."""
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
    """Report these links of a completed job; `{link}` stands for the true one, `{host}` for it
    without its scheme."""
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
    """One rule: which call goes wrong, how, and how often.

    Either `name` says what goes wrong, or `on` and `do`.
    """

    name: str | None = None
    """One of NAMED_FAULTS. `on` may narrow it to one of its calls."""
    on: Call | None = None
    do: FaultAction | None = None
    times: Annotated[int, Field(ge=1)] | None = 1
    """How often; null means always."""
    rate: Annotated[float, Field(gt=0, le=1)] = 1.0
    """The share of the calls that go wrong."""
    seed: int = 0
    """Decides which calls these are: equal seeds give equal ones."""
    after_commit: bool = False
    """Create only, not with `name`: the job is made first, and then the answer goes wrong."""
    job_id: str | None = None
    """Only calls about this job; any job if not given."""

    @property
    def action(self) -> FaultAction | None:
        """What goes wrong, None for a change of the table of named faults."""
        if self.name:
            named = NAMED_FAULTS[self.name].do
            if named is not None:
                return FaultAction.model_validate(named)
        return self.do

    @property
    def kind(self) -> str:
        """The kind of the action, or NAMED."""
        action = self.action
        return action.kind if action else NAMED

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls that can go wrong."""
        if self.on:
            return (self.on,)
        if self.name:
            return NAMED_FAULTS[self.name].calls
        return ()

    @model_validator(mode="after")
    def _check_call(self) -> "Fault":
        if self.name is None and (self.on is None or self.do is None):
            raise ValueError("a fault needs a name, or on and do")
        if self.name is not None and (self.do is not None or self.after_commit):
            raise ValueError("do and after_commit do not go with a name")
        possible: tuple[Call, ...] = tuple(call for call in CALLS if call != "callback")
        if self.name is not None:
            if self.name not in NAMED_FAULTS:
                raise ValueError(f"there is no fault {self.name!r}, only {', '.join(NAMED_FAULTS)}")
            possible = NAMED_FAULTS[self.name].calls
        elif self.do is not None:
            possible = _ONLY_FOR.get(self.do.kind, possible)
        if self.on is not None and self.on not in possible:
            calls = " or ".join(repr(call) for call in possible)
            raise ValueError(f"{self.name or self.kind} only makes sense on {calls}")
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


@dataclass
class _InForce:
    """A rule, and how it stands."""

    rule: Fault
    left: int | None
    draws: random.Random


class Faults:
    """The rules in force. Safe for use by several threads.

    A call takes the first rule that names it. A rule is removed after its number of times.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rules: list[_InForce] = []

    def add(self, rules: list[Fault]) -> None:
        """Add rules after those in force."""
        added = []
        for rule in rules:
            draws = random.Random(rule.seed)  # noqa: S311  has to be repeatable
            added.append(_InForce(rule, rule.times, draws))
        with self._lock:
            self._rules += added

    def clear(self) -> None:
        """Remove all rules."""
        with self._lock:
            self._rules = []

    def as_json(self) -> list[dict[str, Any]]:
        """Return the rules in force as JSON, with how often they still apply."""
        with self._lock:
            rules = [each.rule.model_copy(update={"times": each.left}) for each in self._rules]
        defaults = {"rate": 1.0, "seed": 0}
        shown = []
        for rule in rules:
            facts = rule.model_dump(exclude_none=True)
            shown.append({key: fact for key, fact in facts.items() if defaults.get(key) != fact})
        return shown

    def has_named(self, on: Call, job_id: str | None) -> bool:
        """Say whether a change of the table of named faults may be due to a call."""
        with self._lock:
            return any(
                each.rule.kind == NAMED
                and on in each.rule.calls
                and each.rule.job_id in (None, job_id)
                for each in self._rules
            )

    def take(
        self,
        on: Call,
        job_id: str | None,
        kinds: frozenset[str],
        suits: Callable[[Fault], bool] = lambda fault: True,
    ) -> Fault | None:
        """Return the rule for a call and count it, if its kind is one of `kinds`.

        A rule of another kind is left for whoever applies that kind. It keeps later rules from
        being taken before it, unless it holds for a share of the calls only. Rules that do not
        suit are passed over, and the call does not count for their share.
        """
        with self._lock:
            for index, each in enumerate(self._rules):
                rule = each.rule
                if on not in rule.calls or rule.job_id not in (None, job_id):
                    continue
                if rule.kind not in kinds:
                    if rule.rate < 1 or rule.kind == NAMED:
                        continue
                    return None
                if not suits(rule) or each.draws.random() >= rule.rate:
                    continue
                if each.left is not None:
                    each.left -= 1
                if each.left == 0:
                    del self._rules[index]
                return rule
        return None
