"""What an error tells, and how often."""

import pytest

from prefect_kling.kling.errors import JobFailed, StillRunning


@pytest.mark.parametrize("kind", [JobFailed, StillRunning])
@pytest.mark.parametrize("message", ["job j-17 has not ended", "the job has not ended"])
def test_an_id_is_told_once_whether_or_not_the_message_names_it(
    kind: type[JobFailed | StillRunning], message: str
) -> None:
    """The other facts stand behind the message, and the next step behind them."""
    error = kind(message, job_id="j-17", clip_key="c-4", status=500)
    assert error.job_id == "j-17"
    assert error.summary.count("j-17") == 1
    assert error.summary.endswith("HTTP 500)")
    assert "clip c-4" in error.summary
    assert str(error) == f"{error.summary}. {kind.next_step}"
