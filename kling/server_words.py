"""What a server says, fit to be logged and kept: links in it may be secrets of ours."""

import re

HIDDEN = "<hidden>"
LONGEST = 300
"""Characters that are kept of what a server says."""
_READ = 16 * 1024
"""Characters that are looked at."""

# Addresses may be escaped for JSON, or for another address that contains them.
_LINK = re.compile(
    r"(?P<scheme>https?)(?::|%3A)(?:\\?/|%2F){2}"
    r"(?P<host>(?:(?!%2F|%3F|%23)[^\s\"'<>\\/?#])*)(?P<rest>[^\s\"'<>]*)",
    re.IGNORECASE,
)
# The parameters of signed links, as in a query, in a header, in JSON, or one on a line.
_SIGNATURE = re.compile(
    r"(?P<name>x-amz-(?:signature|credential|security-token)|awsaccesskeyid|signature|credential"
    r"|x-goog-(?:signature|credential)|sig|access_?token|api_?key|authorization)"
    r"(?P<between>(?:%3D|%22|[\"'\\\s=:>]){1,12}(?:bearer\s|basic\s)?)"
    r"(?P<value>[A-Za-z0-9_.~+/%=-]{12,})",
    re.IGNORECASE,
)
# Signatures and callback tokens are 40 or 64 hex digits. An id of a job that is a UUID has 32.
_LONG_HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{40,}", re.IGNORECASE)
_BAD_CHARACTERS = re.compile(
    # C0 without white space, C1, direction marks, halves of characters, what is no character.
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069"
    "\ud800-\udfff\ufeff\ufffe\uffff]"
)


def printable(text: str) -> str:
    """Return a text that every store, database and terminal can hold.

    White space stays as it is.
    """
    return _BAD_CHARACTERS.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Return a text as one printable line: where each line means something, it cannot add one."""
    return " ".join(printable(text).split())


def without_link_paths(text: str) -> str:
    """Return a text with the links in it cut behind their hosts.

    Servers quote what they were sent: signed links, callback addresses, addresses of uploads.
    Whoever reads such a link can use it.
    """
    return _LINK.sub(_host_only, text)


def without_secrets(text: str) -> str:
    """Return a text without the paths of links, the parameters of signed links, and signatures."""
    text = without_link_paths(text)
    text = _SIGNATURE.sub(rf"\g<name>\g<between>{HIDDEN}", text)
    return _LONG_HEX.sub(HIDDEN, text)


def words(text: str, longest: int = LONGEST) -> str:
    """Return what a server says as one line without secrets, cut to a length."""
    text = " ".join(without_secrets(printable(text[:_READ])).split())
    if len(text) <= longest:
        return text
    return text[: longest - 1] + "…"


def _host_only(link: re.Match[str]) -> str:
    scheme = link["scheme"]
    host = link["host"].rpartition("@")[2]
    if link["rest"].strip("/.,;:)") == "":
        return f"{scheme}://{host}{link['rest']}"
    return f"{scheme}://{host}/…"
