"""Running the checks in order."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.finding import Finding, Reason, Status, fault
from prefect_kling.kling.error_details import DetailedError


@dataclass(frozen=True)
class Check:
    """One check: its name, the checks that must succeed first, and the usual fix."""

    name: str
    run: Callable[[DoctorContext], Awaitable[Finding]]
    needs: tuple[str, ...] = ()
    fix: str = ""
    """What to do if `run` raises. Without it, the next step of the error is used."""


async def examine(context: DoctorContext, checks: Sequence[Check]) -> AsyncIterator[Finding]:
    """Run the checks in order and yield what each one finds.

    A check is skipped if one that it needs was skipped or found a fault. Raises nothing, costs
    nothing, and can be repeated at any time. No finding contains a secret of a block.
    """
    unsuccessful: set[str] = set()
    for check in checks:
        missing = [name for name in check.needs if name in unsuccessful]
        if missing:
            names = " and ".join(missing)
            finding = Finding(
                Status.SKIPPED, Reason.NEEDS_OTHER_CHECKS, value=names, check=check.name
            )
        else:
            finding = await _run(check, context)

        if finding.status in (Status.FAULT, Status.SKIPPED):
            unsuccessful.add(check.name)
        yield finding


async def _run(check: Check, context: DoctorContext) -> Finding:
    try:
        finding = await check.run(context)
    except DetailedError as error:
        fix = check.fix or error.next_step
        finding = fault(Reason.CHECK_FAILED, value=error.summary, fix=fix)
    except Exception as error:
        # The person must see whatever a library raises.
        message = f"{type(error).__name__}: {error}".rstrip(": ")
        finding = fault(Reason.CHECK_FAILED, value=message, fix=check.fix)

    value = finding.value
    if isinstance(value, str):
        value = context.redact(value)
    return replace(
        finding,
        check=check.name,
        subject=context.redact(finding.subject),
        value=value,
        fix=context.redact(finding.fix),
    )
