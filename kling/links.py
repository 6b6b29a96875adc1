"""Links to results, read leniently: what a person would still recognise as an address is one."""

import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx

_PICTURE_ENDINGS = (
    ".jpg", ".jpeg", ".png", ".webp", ".gif", ".avif", ".bmp", ".heic", ".svg", ".tif", ".tiff",
)  # fmt: skip
_LINK = re.compile(r"https?://", re.IGNORECASE)
_SCHEME = re.compile(r"(?P<scheme>https?):[/\\]{1,2}(?P<rest>[^/\\].*)", re.IGNORECASE)
_HOST_AND_PATH = re.compile(
    r"(?:[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}|\d{1,3}(?:\.\d{1,3}){3}|localhost)(?::\d+)?/.+",
    re.IGNORECASE,
)
# Begins where a run of separators begins, so that a long run is read once.
_BETWEEN_LINKS = re.compile(r"(?<![\s,;|])[\s,;|]+(?=(?:https?:)?//)", re.IGNORECASE)
_AROUND = " \"'<>`"
LONGEST = 8192
"""Characters; no server takes a longer address."""
RESULT_FIELDS = (
    "resultUrls", "result_urls", "resultUrl", "result_url", "videoUrl", "video_url", "urls", "url",
    "downloadUrl", "download_url", "resultJson", "result_json", "task_result", "videos", "video",
    "result", "output", "outputs",
)  # fmt: skip
"""Where known variants of an answer put links to results."""
# Of what stands in a link without belonging there: control characters, marks of direction and of
# byte order, halves of characters.
_NO_PART_OF_A_LINK = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def read_links(text: str) -> Iterator[str]:
    """Yield the addresses that a text may stand for, the likeliest first; none if it is no link.

    White space and line breaks around or inside a link, quotes around it, `HTTP://`, `//host/path`
    and a missing scheme are tolerated, and several links in one text. Without a scheme both https
    and http are offered.
    """
    if len(text) > LONGEST:
        return
    for part in _BETWEEN_LINKS.split(text):
        yield from _read_one(part)


def _read_one(text: str) -> Iterator[str]:
    # Line breaks come from JSON that was wrapped: nothing belongs in their place.
    link = _NO_PART_OF_A_LINK.sub("", text)
    link = link.strip().strip(_AROUND).strip().replace(" ", "%20")
    with_scheme = _SCHEME.fullmatch(link)
    candidates = []
    if with_scheme is not None:
        candidates = [f"{with_scheme['scheme'].lower()}://{with_scheme['rest']}"]
    elif link.startswith("//") or _HOST_AND_PATH.fullmatch(link):
        host_and_path = link.lstrip("/")
        candidates = [f"https://{host_and_path}", f"http://{host_and_path}"]
    for candidate in candidates:
        if _can_be_opened(candidate):
            yield candidate


def is_link(text: str) -> bool:
    """Whether a text begins as an HTTP link does."""
    return _LINK.match(text) is not None


def is_picture(link: str) -> bool:
    """Whether a link ends like a picture, which is a cover and never the video."""
    return urlsplit(link).path.lower().endswith(_PICTURE_ENDINGS)


def without_query(link: str) -> str:
    """Return host and path of a link: its signature and scheme change from answer to answer."""
    parts = urlsplit(link)
    return f"{parts.netloc.lower()}{parts.path}"


def _can_be_opened(link: str) -> bool:
    try:
        return bool(httpx.URL(link).host and urlsplit(link).netloc)
    except (httpx.InvalidURL, ValueError):
        return False
