"""Handing parameters to tasks."""

from typing import TypeVar, cast

from prefect.utilities.annotations import quote

T = TypeVar("T")


def as_it_is(value: T) -> T:
    """Hand a value to a task without Prefect looking through it for results of other tasks.

    Blocks and orders hold none, and looking into every field of theirs takes longer than all else
    that the task engine does. Values that other tasks have returned are handed over without this:
    Prefect draws the lines between task runs by them.
    """
    return cast("T", quote(value))
