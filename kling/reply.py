"""One answer of the API: read leniently, and sorted by what it proves.

Failures arrive both as an HTTP status and as a `code` inside a 200 body. What an answer to a *free*
call means is guessed generously: the call is repeated, or told. What an answer to a *paid* call
means is never guessed. Such a call counts as refused only if the status and the code, where there
is one, are both on the list of known refusals, and as busy only if both are on the list of busy
answers. Every other answer leaves the outcome unknown: a gateway that says 499 or 409 may have
passed the request on before it gave up.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from itertools import islice

from pydantic import JsonValue

from prefect_kling.kling import errors
from prefect_kling.kling.gate import Answer
from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.job_ids import ID_FIELDS, as_job_id, quoted
from prefect_kling.kling.server_words import words

_MOST_IDS = 20
# A plain `id` names the job only where the page's envelope, or a known variant of it, puts the job.
_JOB_OBJECTS = ("data", "task", "job", "result", "output")
_DEEPEST = 6


class PaidOutcome(Enum):
    """What an answer proves about the paid call that it answers."""

    TAKEN = auto()
    REFUSED = auto()
    BUSY = auto()
    UNKNOWN = auto()


SUCCESS_STATUSES = frozenset({200, 201, 202})
SUCCESS_CODES = frozenset({0, 200, 201, 202})
BUSY = frozenset({429, 1302, 1303})
# HTTP statuses and codes of the API that prove that nothing was made, with the error that names the
# remedy. Sources: the operator's page (400, 401, 402, 404) and the error table of Kling's own API
# (1000 to 1304). 403, 405, 413, 415 and 422 are refusals by definition (RFC 9110). A 404 cannot be
# about a job that does not exist yet: the address is wrong.
REFUSALS: dict[int, type[errors.KlingError]] = {
    400: errors.RequestRefused,
    401: errors.KeyRefused,
    402: errors.BalanceTooLow,
    403: errors.KeyRefused,
    404: errors.KeyRefused,
    405: errors.KeyRefused,
    413: errors.RequestRefused,
    415: errors.RequestRefused,
    422: errors.RequestRefused,
    1000: errors.KeyRefused,
    1001: errors.KeyRefused,
    1002: errors.KeyRefused,
    1003: errors.KeyRefused,
    1004: errors.KeyRefused,
    1100: errors.BalanceTooLow,
    1101: errors.BalanceTooLow,
    1102: errors.BalanceTooLow,
    1103: errors.KeyRefused,
    1200: errors.RequestRefused,
    1201: errors.RequestRefused,
    1202: errors.KeyRefused,
    1203: errors.KeyRefused,
    1300: errors.RequestRefused,
    1301: errors.RequestRefused,
    1304: errors.KeyRefused,
}

# What an answer to a free call says is wrong. Such a call may be repeated, so a range is good
# enough here.
_KEY_IS_WRONG = frozenset({401, 403, 301, 307, 308, 1103, 1304, *range(1000, 1005)})
_IS_NOT_THERE = frozenset({404, 1202, 1203})


@dataclass(frozen=True)
class Reply:
    """An answer: HTTP status, code in the body, message, data, and when to come back.

    `has_unreadable_code`: the body holds a code, or may hold one, that could not be read.
    `named_job_ids`: the ids in id fields of the body, wherever these stand; the likeliest first.
    """

    status: int
    code: int | None
    message: str
    data: Mapping[str, JsonValue]
    retry_after: float | None = None
    has_unreadable_code: bool = False
    named_job_ids: tuple[str, ...] = ()

    @classmethod
    def read(cls, answer: Answer) -> "Reply":
        """Read an answer that has passed the gate; never raises."""
        named_job_ids = _named_job_ids(answer)
        if not isinstance(answer.body, dict):
            return cls(
                status=answer.status,
                code=None,
                message=words(answer.text),
                data={},
                retry_after=answer.retry_after,
                has_unreadable_code=answer.is_broken or isinstance(answer.body, list),
                named_job_ids=named_job_ids,
            )
        code, has_unreadable_code = _code(answer.body)
        data = answer.body.get("data")
        return cls(
            status=answer.status,
            code=code,
            message=words(_message(answer.body)),
            data=data if isinstance(data, dict) else {},
            retry_after=answer.retry_after,
            has_unreadable_code=answer.is_broken or has_unreadable_code,
            named_job_ids=named_job_ids,
        )

    @property
    def named_job_id(self) -> str | None:
        """The likeliest id of a job that the answer names."""
        if not self.named_job_ids:
            return None
        return self.named_job_ids[0]

    @property
    def outcome(self) -> PaidOutcome:
        """What this answer to a paid call proves.

        An answer that is no plain success and names a job proves nothing.
        """
        if self.has_unreadable_code:
            return PaidOutcome.UNKNOWN
        if self.status in SUCCESS_STATUSES and (self.code is None or self.code in SUCCESS_CODES):
            return PaidOutcome.TAKEN
        if self.named_job_id is not None:
            return PaidOutcome.UNKNOWN
        if self._is_on(REFUSALS):
            return PaidOutcome.REFUSED
        if self._is_on(BUSY):
            return PaidOutcome.BUSY
        return PaidOutcome.UNKNOWN

    def _is_on(self, known: Mapping[int, object] | frozenset[int]) -> bool:
        """Whether status and code are both on a list.

        The status may be 200, and there may be no code.
        """
        if self.status == 200:
            return self.code in known
        if self.status not in known:
            return False
        return self.code is None or self.code in known

    def create_error(self) -> errors.KlingError:
        """Return the error for an answer to a paid call that is no plain success with a job."""
        if self.outcome is PaidOutcome.REFUSED:
            said = self.status if self.code is None else self.code
            return self._error(REFUSALS[said], "the API refused the request")
        if self.outcome is PaidOutcome.BUSY:
            return self._error(errors.Unavailable, "the API is too busy to take the request")
        if self.named_job_id is not None:
            return self._error(
                errors.OutcomeUnknown,
                (
                    f"the answer is no plain success and names job {quoted(self.named_job_id)}, "
                    "which may be paid"
                ),
                self.named_job_id,
            )
        return self._error(
            errors.OutcomeUnknown,
            "the answer does not tell whether the request was taken, and it may be paid",
        )

    @property
    def is_done(self) -> bool:
        """Whether a free call got what it asked for."""
        said = self.status if self.code is None else self.code
        return self.status < 400 and (said == 0 or 200 <= said < 300)

    @property
    def is_unavailable(self) -> bool:
        """Whether an answer to a free call says that the API is busy or out of order."""
        return not self.is_done and self._read_error_kind() is errors.Unavailable

    def tells_end_of(self, job_id: str) -> bool:
        """Whether the data say, under this very id, that the job has ended.

        That wins over the envelope.
        """
        job = VideoJob.read(self.data)
        return job is not None and job.job_id == job_id and job.state.is_terminal

    def read_error(self, message: str, job_id: str | None = None) -> errors.KlingError:
        """Return the error for an answer to a free call that did not get what it asked for."""
        return self._error(self._read_error_kind(), message, job_id)

    def upload_error(self, message: str) -> errors.KlingError:
        """Return the error for an answer to an upload that was not taken."""
        said = self.status if self.code is None else self.code
        if said in (404, 405):
            return self._error(errors.RequestRefused, f"{message}: the API takes no uploads")
        return self._error(REFUSALS.get(said, self._read_error_kind()), message)

    def _read_error_kind(self) -> type[errors.KlingError]:
        if self.status >= 500:
            return errors.Unavailable
        said = self.status if self.code is None else self.code
        if said in _KEY_IS_WRONG:
            return errors.KeyRefused
        if said in _IS_NOT_THERE:
            return errors.JobNotFound
        if said in BUSY or 500 <= said < 600 or 5000 <= said < 6000:
            return errors.Unavailable
        return errors.UnreadableReply

    def _error(
        self, kind: type[errors.KlingError], message: str, job_id: str | None = None
    ) -> errors.KlingError:
        error = kind(
            message, job_id=job_id, status=self.status, code=self.code, detail=self.message
        )
        if isinstance(error, errors.Unavailable):
            error.retry_after = self.retry_after
        return error


def _code(body: Mapping[str, JsonValue]) -> tuple[int | None, bool]:
    """Return the code of a body, and whether another one is there or one that is unreadable."""
    found: list[int | None] = []
    for place in (body, body.get("error"), body.get("data")):
        if not isinstance(place, dict):
            continue
        for name, value in place.items():
            if name.lower().replace("_", "") in ("code", "errorcode"):
                found.append(_number(value))
    if not found:
        return None, False
    code = _number(body.get("code"))
    if code is None:
        code = found[0]
    return code, any(each != code for each in found) or None in found


def _named_job_ids(answer: Answer) -> tuple[str, ...]:
    """Return the ids in id fields.

    Those of fields named `id` come last, other things have an id too.

    Without any, what stands in the text counts: a cut body, or JSON in a string, still names its
    job.
    """
    named: dict[str, None] = {}
    also: dict[str, None] = {}
    for name, value in _id_fields(answer.body, is_job=True, depth=0):
        job_id = as_job_id(value)
        if job_id is None:
            continue
        if name == "id":
            also[job_id] = None
        else:
            named[job_id] = None
    if not named:
        named = dict.fromkeys(answer.ids_in_text)
    return tuple(islice(named | also, _MOST_IDS))


def _id_fields(value: JsonValue, *, is_job: bool, depth: int) -> Iterator[tuple[str, JsonValue]]:
    """Find id fields; a plain `id` counts only in an object that stands for the job."""
    if depth > _DEEPEST:
        return
    if isinstance(value, list):
        for item in value:
            yield from _id_fields(item, is_job=is_job, depth=depth + 1)
        return
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        is_id_field = name.lower() in ID_FIELDS or (name == "id" and is_job)
        if is_id_field and isinstance(inner, list):
            for item in inner:
                yield name, item
        elif is_id_field and not isinstance(inner, dict):
            yield name, inner
        else:
            yield from _id_fields(
                inner, is_job=is_id_field or name in _JOB_OBJECTS, depth=depth + 1
            )


def _number(value: JsonValue) -> int | None:
    """Return a code: a whole number, or one written as digits."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
        return value
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return None


def _message(body: Mapping[str, JsonValue]) -> str:
    """Return what the server says is wrong, wherever a known variant puts it."""
    error = body.get("error")
    data = body.get("data")
    candidates = [
        data.get("failMsg") if isinstance(data, dict) else None,
        body.get("msg"),
        error.get("message") if isinstance(error, dict) else error,
        body.get("message"),
    ]
    for text in candidates:
        if isinstance(text, str) and text:
            return text
    return ""
