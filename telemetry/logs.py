"""The logger of tasks and flows."""

import logging
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger


def run_logger() -> "logging.Logger | logging.LoggerAdapter[Any]":
    """Return the logger of the current run; outside a run, the logger `prefect.kling`.

    Tests and scripts that call a task's `.fn` are outside a run.
    """
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("kling")
