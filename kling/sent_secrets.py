"""The secrets that a client has sent, and how they are found in what comes back."""

import base64
import html
import re
from collections.abc import Iterator
from urllib.parse import parse_qsl, unquote

from pydantic import JsonValue

from prefect_kling.kling.job_ids import ID_FIELDS
from prefect_kling.kling.links import is_link
from prefect_kling.kling.server_words import HIDDEN

MOST_TOKENS = 20_000
"""How many parts of links are remembered; the oldest are forgotten first."""
_PART = 12
"""So many characters of the key's beginning or end are as good as the key."""
_BEGINNING = 16
"""So many characters of a token's beginning are as good as the token."""
_RUN = re.compile(r"[A-Za-z0-9_-]{16,}")
# Begins where a run of backslashes begins, so that a long run is read once.
_ESCAPE = re.compile(r"(?<!\\)\\{1,16}(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))")
_INVISIBLE = re.compile("[\\s\\\\\u200b-\u200d\u2060\ufeff\u00ad]+")
_IDS = (*ID_FIELDS, "id", "job", "task")
"""A link to an earlier result may name its job, whose id must stay readable."""
_KEY_CHARACTERS = r"[A-Za-z0-9_-]*"


class SentSecrets:
    """The API key, and the secrets in sent links: queries, and paths of callbacks.

    Secrets are looked for in decoded strings: as they are, in part, and escaped, encoded or spread
    in the ways that texts get on their way through programs.
    """

    def __init__(self, key: str) -> None:
        # By their beginnings, in lower case: a token may stand in the middle of other text.
        self._tokens: dict[str, None] = {}
        self._key: re.Pattern[str] | None = None
        self._encoded: tuple[str, ...] = ()
        self._shortest = min(len(key), _PART)
        if key:
            self._key = _pattern_of(key)
            self._encoded = tuple(_encodings(key))

    def note(self, body: JsonValue) -> None:
        """Remember the secret parts of all links in the body of a request."""
        for name, link in _links("", body):
            for text in _secret_parts(name, link):
                for token in _RUN.findall(text.lower()):
                    beginning = token[:_BEGINNING]
                    # Moved to the end, where it is kept longest.
                    self._tokens.pop(beginning, None)
                    self._tokens[beginning] = None
        while len(self._tokens) > MOST_TOKENS:
            del self._tokens[next(iter(self._tokens))]

    def hide_key(self, text: str) -> str:
        """Return a text without the key.

        All of a text that holds it in some other spelling is hidden.
        """
        if self._key is None or len(text) < self._shortest:
            return text
        text = self._key.sub(HIDDEN, text)
        plain = _plain(text)
        if self._key.search(plain) or any(each in plain for each in self._encoded):
            return HIDDEN
        return text

    def hide(self, text: str) -> str:
        """Return a text without the key and without the secret parts of links."""
        text = self.hide_key(text)
        if not self._tokens:
            return text
        text = _RUN.sub(self._hide_run, text)
        if self._holds_a_token(_plain(text).lower()):
            return HIDDEN
        return text

    def _hide_run(self, run: re.Match[str]) -> str:
        if run[0][:_BEGINNING].lower() in self._tokens:
            return HIDDEN
        return run[0]

    def _holds_a_token(self, text: str) -> bool:
        starts = range(len(text) - _BEGINNING + 1)
        return any(text[start : start + _BEGINNING] in self._tokens for start in starts)


def _pattern_of(key: str) -> re.Pattern[str]:
    if len(key) < _PART + 4:
        return re.compile(re.escape(key), re.IGNORECASE)
    head = re.escape(key[:_PART])
    tail = re.escape(key[-_PART:])
    return re.compile(f"{head}{_KEY_CHARACTERS}|{tail}", re.IGNORECASE)


def _encodings(key: str) -> Iterator[str]:
    """Yield what a key looks like backwards, in hex, and in Base64 wherever it begins there."""
    if len(key) < _PART:
        return
    yield key[::-1]
    yield key.encode().hex()
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + key.encode()).decode()
        first = (before * 8 + 5) // 6
        last = (before + len(key.encode())) * 8 // 6
        yield encoded[first:last]


def _plain(text: str) -> str:
    """Return a text with its escapes undone, twice over, and without white space."""
    if text.isalnum():
        return text
    for _ in range(2):
        text = _ESCAPE.sub(_unescape, text)
        text = html.unescape(unquote(text))
    return _INVISIBLE.sub("", text)


def _unescape(escape: re.Match[str]) -> str:
    return chr(int(escape[1] or escape[2], 16))


def _secret_parts(name: str, link: str) -> Iterator[str]:
    """Yield the values of a link's query, but for ids, and the path of a callback."""
    address, _, query = link.partition("?")
    if name == "callback_url":
        yield unquote(address.partition("//")[2].partition("/")[2])
    for parameter, value in parse_qsl(query):
        if parameter.lower() not in _IDS:
            yield value


def _links(name: str, value: JsonValue) -> Iterator[tuple[str, str]]:
    """Yield the links in a request with the names of their fields."""
    if isinstance(value, str) and is_link(value):
        yield name, value
    elif isinstance(value, list):
        for item in value:
            yield from _links(name, item)
    elif isinstance(value, dict):
        for inner_name, inner in value.items():
            yield from _links(inner_name, inner)
