"""What counts as a link."""

import re

_LINK = re.compile(r"https?://", re.IGNORECASE)


def is_link(text: str) -> bool:
    """Whether a text begins as an HTTP link does."""
    return _LINK.match(text) is not None
