"""The logger of tasks and flows."""

import logging
from collections.abc import MutableMapping
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger

from prefect_kling.kling.server_words import printable


def run_logger() -> "logging.Logger | logging.LoggerAdapter[Any]":
    """Return the logger of the current run; outside a run, the logger `prefect.kling`.

    Tests and scripts that call a task's `.fn` are outside a run.
    """
    try:
        return _PrintableLogger(get_run_logger())
    except MissingContextError:
        return _PrintableLogger(get_logger("kling"))


class _PrintableLogger(logging.LoggerAdapter[Any]):
    """Logs texts of others as texts: no control codes, and no line of their own."""

    def log(self, level: int, msg: object, *args: Any, **kwargs: Any) -> None:
        """Log a message with its arguments."""
        super().log(level, _printable(msg), *(_printable(value) for value in args), **kwargs)

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        """Leave the fields of the run to the logger inside."""
        return msg, kwargs


def _printable(value: object) -> object:
    if isinstance(value, str | BaseException):
        return " ".join(printable(str(value)).splitlines())
    return value
