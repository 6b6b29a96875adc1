"""What other libraries log of our HTTP calls: without the parts of links that are secrets."""

import functools
import logging
import re
from urllib.parse import urlsplit

import httpx

from prefect_kling.kling.server_words import without_secrets

# httpx writes a line with the address of every call. httpcore, at DEBUG, writes the headers of
# answers: new addresses stand in them, cookies too.
HTTP_LOGGERS = (
    "httpx",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.http2",
    "httpcore.proxy",
    "httpcore.socks",
)


@functools.cache
def hide_links_in_logs(*loggers: str) -> None:
    """Have loggers of other libraries hide queries, signatures and credentials, once a process.

    A filter stays with a logger, whatever is configured later.
    """
    for name in loggers:
        logging.getLogger(name).addFilter(_hide)


# Which job was asked about is no secret.
_POLL = re.compile("task_id=[^&]*")


def _hide(record: logging.LogRecord) -> bool:
    if record.name == "httpx" and isinstance(record.args, tuple):
        record.args = tuple(_without_query(each) for each in record.args)
        return True
    try:
        message = record.getMessage()
    except (KeyError, TypeError, ValueError):
        # A line that cannot be formatted; logging would only complain about it.
        return False
    record.msg = without_secrets(message)
    record.args = ()
    return True


def _without_query(value: object) -> object:
    if not isinstance(value, httpx.URL):
        return value
    parts = urlsplit(str(value))
    query = ""
    if _POLL.fullmatch(parts.query):
        query = parts.query
    return parts._replace(query=query, netloc=parts.netloc.rpartition("@")[2]).geturl()
