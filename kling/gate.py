"""The gate: every answer of the API, and every call of it, passes here before anything is read.

| of what comes   | what passes                                                                  |
|-----------------|------------------------------------------------------------------------------|
| bytes           | the first 1 MiB, counted as they come and once more after gzip or deflate    |
| text            | UTF-8, UTF-16 or UTF-32, as JSON is told apart; wrong bytes are replaced     |
| JSON            | 32 levels and 50,000 values; the rest is dropped                             |
| strings         | 32,768 characters, without control characters, surrogates, our secrets |
| ids             | as they are; odd ones are quoted, long ones cut (see `job_ids`)              |
| numbers         | finite ones; more than 600 digits stay text                                  |

Nothing here raises. What could not be read, or has not arrived whole, is said to be so, and the
ids that stand in its text are kept.
"""

import json
import math
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import islice

import httpx
from pydantic import JsonValue

from prefect_kling.kling.job_ids import ID_FIELDS, as_job_id
from prefect_kling.kling.links import RESULT_FIELDS
from prefect_kling.kling.sent_secrets import SentSecrets
from prefect_kling.kling.server_words import printable

LARGEST_ANSWER = 2**20
"""Bytes; the operator's largest answer known has 2,000."""
LONGEST_TEXT = 2**15
"""Characters of one text; links to results, and JSON that holds such links, are left whole."""
DEEPEST = 32
MOST_VALUES = 50_000
_PIECE = 4096
_MOST_IDS = 20
_ID_IN_TEXT = re.compile(
    r'"(?:task_?id|job_?id)"\s{0,20}:\s{0,20}\[?\s{0,20}"?(?P<id>[A-Za-z0-9._:=+@~-]{2,256})',
    re.IGNORECASE,
)
MOST_DIGITS = 600
"""Python reads and writes no more than 640 where an administrator chose the lowest limit."""


@dataclass(frozen=True)
class Answer:
    """An answer that has passed the gate.

    `body` is None where the text is no JSON. `is_broken`: it did not arrive whole, or begins as
    JSON and cannot be read as such. `ids_in_text`: what stands behind a name of an id field, as far
    as that can be told from the text alone.
    """

    status: int
    text: str
    body: JsonValue
    is_broken: bool
    ids_in_text: tuple[str, ...] = ()
    retry_after: float | None = None


class Arrival:
    """An answer as it arrives; what has arrived is kept whatever ends it."""

    def __init__(self) -> None:
        self.response: httpx.Response | None = None
        self._raw = bytearray()
        self._is_whole = False

    async def take(self, response: httpx.Response) -> None:
        """Take the body of a response that was opened as a stream, and close it."""
        self.response = response
        stream = response.stream
        if not isinstance(stream, httpx.AsyncByteStream):
            raise TypeError("the response is not asynchronous")
        try:
            # Not aiter_bytes: one piece of it can be a thousand times as long as what has arrived.
            async for piece in stream:
                self._raw += piece[: LARGEST_ANSWER + 1 - len(self._raw)]
                if len(self._raw) > LARGEST_ANSWER:
                    return
            self._is_whole = True
        finally:
            await response.aclose()

    def read(self, secrets: SentSecrets) -> Answer | None:
        """Return what has arrived; None if no response did."""
        if self.response is None:
            return None
        headers = self.response.headers
        content, is_complete = _unpack(bytes(self._raw), headers.get("content-encoding", ""))
        passed = read_body(content, secrets)
        return Answer(
            status=self.response.status_code,
            text=passed.text,
            body=passed.body,
            is_broken=passed.is_broken or not (is_complete and self._is_whole),
            ids_in_text=passed.ids_in_text,
            retry_after=_retry_after(headers.get("retry-after", "")),
        )


@dataclass(frozen=True)
class Body:
    """The text of a body, and the JSON in it; see `Answer`."""

    text: str
    body: JsonValue
    is_broken: bool
    ids_in_text: tuple[str, ...] = ()


def read_body(content: bytes, secrets: SentSecrets) -> Body:
    """Return what is in the body of an answer or a call. Never raises."""
    is_cut = len(content) > LARGEST_ANSWER
    content = content[:LARGEST_ANSWER]
    text = content.decode(json.detect_encoding(content), "replace")
    parsed = None
    is_json = False
    try:
        parsed = parse_json(text)
        is_json = True
    except (ValueError, RecursionError):
        # The ids in the text are found all the same.
        is_json = False
    begins_as_json = text.lstrip()[:1] in ("{", "[")
    return Body(
        text=secrets.hide(text[:LONGEST_TEXT]),
        body=_Admission(secrets).admit(parsed),
        is_broken=is_cut or (begins_as_json and not is_json),
        ids_in_text=tuple(_ids_in_text(text, secrets)),
    )


def _ids_in_text(text: str, secrets: SentSecrets) -> Iterator[str]:
    """Find ids in a body that is cut, nested too deeply, or holds JSON in a string."""
    for match in islice(_ID_IN_TEXT.finditer(text.replace("\\", "")), _MOST_IDS):
        job_id = match["id"]
        if secrets.hide(job_id) == job_id:
            yield job_id


def parse_json(text: str) -> JsonValue:
    """Read JSON leniently.

    Raises `ValueError` or, where it is nested too deeply, `RecursionError`.
    """
    parsed: JsonValue = json.loads(
        text, strict=False, parse_int=_whole, parse_float=_finite, parse_constant=_nothing
    )
    return parsed


def _whole(digits: str) -> int | str:
    if len(digits) > MOST_DIGITS:
        return digits
    return int(digits)


def _finite(digits: str) -> float | None:
    number = float(digits)
    if not math.isfinite(number):
        return None
    return number


def _nothing(name: str) -> None:
    """Read NaN and Infinity, which are no JSON."""


class _Admission:
    """One walk through JSON that was just parsed; it stops at the limits of the gate."""

    def __init__(self, secrets: SentSecrets) -> None:
        self._secrets = secrets
        self._count = 0

    def admit(self, value: JsonValue, name: str = "", depth: int = 0) -> JsonValue:
        self._count += 1
        if depth > DEEPEST or self._count > MOST_VALUES:
            return None
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, list):
            items: list[JsonValue] = []
            for item in value:
                if self._count > MOST_VALUES:
                    break
                items.append(self.admit(item, name, depth + 1))
            return items
        if isinstance(value, dict):
            fields: dict[str, JsonValue] = {}
            for inner_name, inner in value.items():
                if self._count > MOST_VALUES:
                    break
                told = printable(self._secrets.hide(inner_name[:LONGEST_TEXT]))
                fields[told] = self.admit(inner, inner_name, depth + 1)
            return fields
        return value

    def _text(self, value: str, name: str) -> str:
        if name in RESULT_FIELDS:
            # Links that are to be opened, and may share a part with links that were sent.
            return self._secrets.hide_key(value)
        hidden = self._secrets.hide(value[:LONGEST_TEXT])
        if name == "id" or name.lower() in ID_FIELDS:
            return as_job_id(hidden) or ""
        return printable(hidden)


def _unpack(raw: bytes, encodings: str) -> tuple[bytes, bool]:
    """Undo gzip and deflate, as far as the limit; say whether all of it was undone."""
    content = raw
    is_complete = True
    for encoding in reversed(encodings.lower().split(",")[:3]):
        match encoding.strip():
            case "" | "identity":
                continue
            case "gzip" | "x-gzip" | "deflate":
                content, is_whole = _inflate(content)
                is_complete = is_complete and is_whole
            case _:
                is_complete = False
    return content, is_complete


def _inflate(packed: bytes) -> tuple[bytes, bool]:
    # 47: gzip or zlib, whichever it is. -15: neither, as some servers understand "deflate".
    for window in (47, -15):
        unpacking = zlib.decompressobj(window)
        content = bytearray()
        try:
            for start in range(0, len(packed), _PIECE):
                piece = unpacking.unconsumed_tail + packed[start : start + _PIECE]
                content += unpacking.decompress(piece, LARGEST_ANSWER + 1 - len(content))
                if len(content) > LARGEST_ANSWER:
                    break
        except zlib.error:
            if not content:
                continue
            return bytes(content), False
        return bytes(content), unpacking.eof
    return packed, False


def _retry_after(text: str) -> float | None:
    """Seconds or an HTTP date (RFC 9110 §10.2.3); nonsense counts as not given."""
    text = text.strip()[:64]
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
