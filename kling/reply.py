"""One answer of the API, read leniently and sorted by what it means.

Failures arrive both as an HTTP status and as a `code` inside a 200 body; the code wins, but
for a 5xx status: what a failing gateway says about a paid call is no proof of anything.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto

import httpx
from pydantic import JsonValue

from prefect_kling.kling import errors

WORDS_LIMIT = 300


class Meaning(Enum):
    """What an answer says about the call it answers."""

    DONE = auto()
    REQUEST = auto()
    KEY = auto()
    BALANCE = auto()
    GONE = auto()
    BUSY = auto()
    SERVER = auto()
    STRANGE = auto()


# HTTP statuses, and the codes of Kling's own API that a gateway may pass on inside a body.
_MEANINGS: dict[int, Meaning] = {
    401: Meaning.KEY,
    402: Meaning.BALANCE,
    403: Meaning.KEY,
    404: Meaning.GONE,
    408: Meaning.STRANGE,
    429: Meaning.BUSY,
    **dict.fromkeys(range(1000, 1005), Meaning.KEY),
    **dict.fromkeys(range(1100, 1103), Meaning.BALANCE),
    1103: Meaning.KEY,
    **dict.fromkeys((1200, 1201, 1300, 1301), Meaning.REQUEST),
    **dict.fromkeys((1202, 1203), Meaning.GONE),
    **dict.fromkeys((1302, 1303), Meaning.BUSY),
    1304: Meaning.KEY,
    # A moved address: the call was not taken here, and the base URL is wrong.
    **dict.fromkeys((301, 307, 308), Meaning.KEY),
}

_READ_ERRORS: dict[Meaning, type[errors.KlingError]] = {
    Meaning.KEY: errors.KeyRefused,
    Meaning.GONE: errors.JobGone,
    Meaning.BUSY: errors.Unavailable,
    Meaning.SERVER: errors.Unavailable,
}
# A paid call that met anything but a clear refusal may have been carried out.
_CREATE_ERRORS: dict[Meaning, type[errors.KlingError]] = {
    Meaning.REQUEST: errors.RequestRefused,
    Meaning.KEY: errors.KeyRefused,
    Meaning.BALANCE: errors.BalanceTooLow,
    # There is no job to be missing yet: it is the address that is not there.
    Meaning.GONE: errors.KeyRefused,
    Meaning.BUSY: errors.Unavailable,
}


@dataclass(frozen=True)
class Reply:
    """An answer: its HTTP status, the code its body names, the server's words, the data, and when to come back."""

    status: int
    code: int | None
    words: str
    data: Mapping[str, JsonValue]
    retry_after: float | None

    @classmethod
    def read(cls, response: httpx.Response, hide: str) -> "Reply":
        """Read any answer; never raises, whatever the body holds. The secret to `hide` is blotted out."""
        text = response.text.replace(hide, "<hidden>") if hide else response.text
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            return cls(response.status_code, None, _shorten(text), {}, _retry_after(response))
        data = body.get("data")
        return cls(
            status=response.status_code,
            code=_number(body.get("code")),
            words=_shorten(_words(body)),
            data=data if isinstance(data, dict) else {},
            retry_after=_retry_after(response),
        )

    @property
    def meaning(self) -> Meaning:
        """What the answer says; a 5xx status is trouble at the server whatever the body claims."""
        if self.status >= 500:
            return Meaning.SERVER
        said = self.status if self.code is None else self.code
        if said in _MEANINGS:
            return _MEANINGS[said]
        if said == 0 or 200 <= said < 300:
            return Meaning.DONE if self.status < 400 else Meaning.STRANGE
        if 400 <= said < 500:
            return Meaning.REQUEST
        return Meaning.SERVER if 500 <= said < 600 or 5000 <= said < 6000 else Meaning.STRANGE

    def read_error(self, what: str, job_id: str | None = None) -> errors.KlingError:
        """Turn the answer to a free, repeatable call into the error that names the remedy."""
        return self._error(_READ_ERRORS.get(self.meaning, errors.UnreadableReply), what, job_id)

    def create_error(self, what: str, job_id: str | None = None) -> errors.KlingError:
        """Turn the answer to a paid call into its error; whatever is not a clear refusal is `OutcomeUnknown`."""
        return self._error(_CREATE_ERRORS.get(self.meaning, errors.OutcomeUnknown), what, job_id)

    def _error(
        self, kind: type[errors.KlingError], what: str, job_id: str | None
    ) -> errors.KlingError:
        error = kind(what, job_id=job_id, status=self.status, code=self.code, detail=self.words)
        if isinstance(error, errors.Unavailable):
            error.retry_after = self.retry_after
        return error


def _number(value: JsonValue) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 10 else None


def _words(body: Mapping[str, JsonValue]) -> str:
    error = body.get("error")
    data = body.get("data")
    candidates = (
        data.get("failMsg") if isinstance(data, dict) else None,
        body.get("msg"),
        error.get("message") if isinstance(error, dict) else error,
        body.get("message"),
    )
    return next((text for text in candidates if isinstance(text, str) and text), "")


def _shorten(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= WORDS_LIMIT else text[: WORDS_LIMIT - 1] + "…"


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds or an HTTP date (RFC 9110 §10.2.3); nonsense counts as not given."""
    text = response.headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None
