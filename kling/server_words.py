"""What a server says, fit to be logged and kept: links in it may be secrets of ours."""

import re

_LINK = re.compile(
    r"(?P<scheme>https?:)(?:\\?/){2}(?P<host>[^\s\"'<>\\/?#]*)(?P<rest>[^\s\"'<>]*)", re.IGNORECASE
)


def without_link_paths(text: str) -> str:
    """Return a text with the links in it cut behind their hosts.

    Servers quote what they were sent: signed links, callback addresses, addresses of uploads.
    Whoever reads such a link can use it.
    """
    return _LINK.sub(_host_only, text)


def _host_only(link: re.Match[str]) -> str:
    host = link["host"].rpartition("@")[2]
    if link["rest"].strip("/.,;:)") == "":
        return f"{link['scheme']}//{host}{link['rest']}"
    return f"{link['scheme']}//{host}/…"
