"""A text of others in a log is one printable line, wherever in the call it stands."""

import logging

import pytest

from prefect_kling.telemetry.logs import run_logger

HOSTILE = "\x1b[2J\x1b]8;;http://foreign.invalid\x07here \u202egnp\nINFO | all is paid\x00"
SHOWN = "\ufffd[2J\ufffd]8;;http://foreign.invalid\ufffdhere \ufffdgnp INFO | all is paid\ufffd"


@pytest.mark.parametrize(
    ("message", "arguments"),
    [(HOSTILE, ()), ("%s", (HOSTILE,)), ("%s", (ValueError(HOSTILE),))],
    ids=["message", "argument", "error"],
)
def test_a_text_makes_no_second_line_and_no_terminal_command(
    message: str, arguments: tuple[object, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """As the message, as an argument, and in the words of an error."""
    # Whether this logger hands records on depends on whether Prefect has set up its logging.
    logger = logging.getLogger("prefect.kling")
    logger.addHandler(caplog.handler)
    run_logger().warning(message, *arguments)
    logger.removeHandler(caplog.handler)
    assert {record.getMessage() for record in caplog.records} == {SHOWN}
