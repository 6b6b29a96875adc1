"""The fault matrix covers every fault that the sandbox plays."""

from tests.kill.fault_matrix import uncovered


def test_no_fault_of_the_sandbox_is_left_out() -> None:
    """A new kind of fault gets a row in the matrix."""
    assert uncovered() == set()
