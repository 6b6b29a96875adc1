"""Ids of jobs: which shape is one, and how any other is kept for a person."""

import re

from pydantic import JsonValue

ID_FIELDS = ("taskid", "task_id", "jobid", "job_id")
"""Names of id fields, in lower case."""
KEPT = 256
"""Characters that are kept of an id; one that was cut is never taken for a whole one."""
_JOB_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._:=+@~-]{0,199}")
_NO_ID = ("", "0", "null", "none", "undefined")


def is_job_id(text: str) -> bool:
    """Whether a text has the shape of an id: safe in links, commands, pages and object keys."""
    return _JOB_ID.fullmatch(text) is not None


def as_job_id(value: JsonValue) -> str | None:
    """Return an id as text that can be written down; None for what is no id at all.

    Of an id that is too long the beginning is kept. One with characters that cannot be printed is
    quoted. Neither of the two passes for an id, see `is_job_id`, but a person can look for it.
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    if text.lower() in _NO_ID:
        return None
    text = text[:KEPT]
    if not (text.isascii() and text.isprintable()):
        text = ascii(text)
    return text[:KEPT]


def quoted(job_id: str) -> str:
    """Return an id as it is told in a sentence: in quotes unless it has the shape of one."""
    if is_job_id(job_id):
        return job_id
    return ascii(job_id[:KEPT])
