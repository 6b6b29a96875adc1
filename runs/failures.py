"""Runs that fail, in words: the state says the sentence, a page says what to do, an event calls.

Prefect logs whatever a flow raises with its traceback, and begins the message of the state with
words of its own. A flow that returns a failed state has neither. Whoever awaits the flow gets the
exception all the same: it is the data of that state.
"""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, cast
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext, TaskRunContext
from prefect.states import exception_to_failed_state
from pydantic import ValidationError

from prefect_kling.blocks.load import BlockMissing
from prefect_kling.kling.error_details import DetailedError, in_words
from prefect_kling.kling.models import ModelsFileInvalid
from prefect_kling.kling.server_words import printable, words
from prefect_kling.kling.violations import violations_of
from prefect_kling.telemetry.events import announce_failed
from prefect_kling.telemetry.failure_page import failure_page
from prefect_kling.telemetry.markdown import log_view_errors, write_page
from prefect_kling.telemetry.progress import RunTally, tallied

P = ParamSpec("P")
R = TypeVar("R")
FlowFunction = Callable[P, Coroutine[Any, Any, R]]

LONGEST_WHY = 1000
"""Characters of an error that an event carries; the page has all of them."""


def fails_in_words(kind: str) -> Callable[[FlowFunction[P, R]], FlowFunction[P, R]]:
    """Return a decorator for the function of a flow, to stand below `@flow`.

    An expected error fails the run with its sentence and without a traceback; any other one is
    raised as it is. Both are told on a page of the run and by the event `kling.{kind}.failed`.
    The caller of the flow gets the exception.
    """

    def decorate(function: FlowFunction[P, R]) -> FlowFunction[P, R]:
        @functools.wraps(function)
        async def told(*args: P.args, **kwargs: P.kwargs) -> R:
            run = _run_of(told)
            if run is None:
                return await function(*args, **kwargs)
            with tallied() as tally:
                try:
                    return await function(*args, **kwargs)
                except Exception as error:
                    await _tell(error, kind, run, tally)
                    if not is_expected(error):
                        raise
                    # Prefect takes a state for the flow's result; its type says otherwise.
                    return cast("R", await failed_state(error))

        # For the hook of runs that fail before they begin.
        told.kling_kind = kind  # type: ignore[attr-defined]
        return told

    return decorate


def fails_without_traceback(function: FlowFunction[P, R]) -> FlowFunction[P, R]:
    """Decorate a sub-flow or a task: an expected error fails it with its sentence.

    The run around it tells the error. Transient errors of a task are retried as if they were
    raised.
    """

    @functools.wraps(function)
    async def told(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except Exception as error:
            if not (_is_run_as_task(told) or _run_of(told)) or not is_expected(error):
                raise
            return cast("R", await failed_state(error))

    return told


def is_expected(error: BaseException) -> bool:
    """Whether an error says in words what to do, so that nobody needs its traceback."""
    if isinstance(error, ValidationError):
        return bool(violations_of(error))
    return isinstance(error, DetailedError | BlockMissing | ModelsFileInvalid)


def sentence(error: BaseException) -> str:
    """Return what an error says, without the name of its class where it is expected."""
    if isinstance(error, ValidationError) and is_expected(error):
        return "; ".join(str(each) for each in violations_of(error))
    if is_expected(error):
        return printable(str(error))
    return in_words(error)


async def failed_state(error: BaseException) -> "State[Any]":
    """Return the state that Prefect itself makes of an exception, with its sentence as message."""
    context = FlowRunContext.get()
    store = None
    if context is not None:
        store = context.result_store
    state = await exception_to_failed_state(error, result_store=store, write_result=True)
    state.message = sentence(error)
    return state


def _run_of(function: Callable[..., Any]) -> FlowRunContext | None:
    """Return the run whose flow's function this is; None where it is called by itself."""
    context = FlowRunContext.get()
    if context is None or context.flow is None or context.flow.fn is not function:
        return None
    return context


async def result_of(given: R) -> R:
    """Return what a task returned; raise its error if that is a failed state.

    Prefect raises it for flows, and hands over the state for tasks.
    """
    if isinstance(given, State):
        return cast("R", await given.aresult())
    return given


def _is_run_as_task(function: Callable[..., Any]) -> bool:
    context = TaskRunContext.get()
    return context is not None and context.task.fn is function


async def _tell(error: Exception, kind: str, run: FlowRunContext, tally: RunTally) -> None:
    """Write the page and emit the event. Trouble on the way never takes the error's place."""
    if run.flow_run is None:
        return
    told = sentence(error)
    with log_view_errors():
        content = failure_page(kind, told, tally, is_expected=is_expected(error))
        await write_page("why-it-failed", content, words(told, 200))
    announce_failed(
        kind,
        run.flow_run.id,
        run.flow_run.name,
        words(told, LONGEST_WHY),
        made=tally.made,
        paid_usd=tally.paid_usd,
        failed=tally.failed_shots,
    )


def as_run_id(text: str | None) -> UUID | None:
    """Return the id of a run that `prefect.runtime` gives; None outside of a run."""
    if text is None:
        return None
    return UUID(text)
