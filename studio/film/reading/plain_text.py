"""Texts as other programs write them: encodings, Markdown fences, and pages that are no text."""

import codecs
import re
import unicodedata

from prefect_kling.studio.film.mistakes import Mistake

_PAGE = re.compile(r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE)
_FENCE = re.compile(r" {0,3}(?P<fence>`{3,}|~{3,})[^`]*")


class TextInvalid(Exception):
    """A text is no YAML or JSON, or more than anybody writes. `mistakes` say why, and where."""

    def __init__(self, *mistakes: Mistake) -> None:
        super().__init__(*mistakes)
        self.mistakes = mistakes


def decoded(content: bytes) -> str:
    """Return a text that is written as UTF-8, or as UTF-16 with its mark, which Windows adds.

    Raises `UnicodeDecodeError` for any other.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    return content.decode("utf-8-sig")


def spellings(name: str) -> tuple[str, ...]:
    """Return the ways in which programs write one name, the given one first.

    macOS writes `ü` as `u` and two dots (NFD), others as one character (NFC).
    """
    forms = (unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
    return tuple(dict.fromkeys((name, *forms)))


def unwrapped(text: str) -> str:
    """Return the text inside of a Markdown fence, on the lines where it stands; any other as it is.

    Raises `TextInvalid` for a web page, and for a fence that is not all there is.
    """
    text = text.removeprefix("\ufeff")
    if _PAGE.match(text[:2000]):
        raise TextInvalid(Mistake("web_page", line=1))
    lines = text.splitlines()
    begin = next((number for number, line in enumerate(lines) if line.strip()), None)
    if begin is None:
        return text
    opening = _FENCE.fullmatch(lines[begin])
    if opening is None:
        return text
    fence = opening["fence"]
    end = len(lines)
    for number in range(begin + 1, len(lines)):
        line = lines[number].strip()
        if line.startswith(fence) and set(line) == {fence[0]}:
            end = number
            break
    for number in range(end + 1, len(lines)):
        if lines[number].strip():
            raise TextInvalid(Mistake("behind_the_fence", line=number + 1))
    # Empty lines in place of what is left out: mistakes name the lines of the file.
    return "\n".join([*([""] * (begin + 1)), *lines[begin + 1 : end], ""])
