"""Where tasks and flows say what they do."""

import logging
from typing import Any

from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger


def run_logger() -> "logging.Logger | logging.LoggerAdapter[Any]":
    """Return the run's logger, or the package's own when called outside a run (as tests and scripts do with `.fn`)."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("kling")
