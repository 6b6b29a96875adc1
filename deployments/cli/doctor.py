"""`prefect-kling doctor` and `prefect-kling setup`."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.doctor_text import line, sentence
from prefect_kling.deployments.cli.documents import Check, Examined, SetUp
from prefect_kling.deployments.cli.exit_codes import ExitCode
from prefect_kling.deployments.cli.setup import (
    SetupRefused,
    ask,
    from_environment,
    line_of,
    require_whole,
    set_up,
)
from prefect_kling.deployments.cli.terminal import AsJson, Styled, facts, print_json, say
from prefect_kling.deployments.doctor.checks import CHECKS, SERVER
from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.examination import examine
from prefect_kling.deployments.doctor.finding import Status
from prefect_kling.deployments.doctor.live import LOOKS, live_report, write_report

COLOURS = {
    Status.OK: "green",
    Status.HINT: "yellow",
    Status.FAULT: "red",
    Status.SKIPPED: "dim",
}


def doctor(
    *,
    credentials: str = "default",
    archive: str = "default",
    live: Annotated[bool, Parameter(negative="")] = False,
    report: Path = Path("kling-live-report.json"),
    as_json: AsJson = False,
) -> int:
    """Check everything a production run needs, and say what is wrong and what to do.

    Free. The exit code is 1 if there is a fault.

    Args:
        credentials: Name of the KlingCredentials block.
        archive: Name of the KlingArchive block.
        live: Instead, look at the account for a minute and write how frozen money, records and
            calls behave into a file that can be sent to others. Send a clip just before.
        report: That file.
        as_json: Print JSON; with --live it is what the file holds.
    """
    if live:
        return asyncio.run(_write_live_report(credentials, archive, report, as_json=as_json))
    checks = asyncio.run(_examine(credentials, archive, is_told=not as_json))
    faults = _faults(checks)
    if as_json:
        print_json(Examined(checks=checks, faults=faults))
    return ExitCode.FAILED if faults else ExitCode.DONE


def setup(
    *,
    name: str = "default",
    yes: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    as_json: AsJson = False,
) -> int:
    """Create the blocks from questions, or from the environment; then run the doctor.

    With --yes or without a terminal nothing is asked. Read from the environment:
    APIMODELS_API_KEY, KLING_BUCKET; optional APIMODELS_BASE_URL, KLING_PREFIX,
    KLING_RECEIVER_URL, KLING_RECEIVER_SECRET and the AWS variables. What is not given
    stays as a block has it.

    Args:
        name: What the blocks are called.
        yes: Ask nothing.
        overwrite: Change blocks that exist with other values.
        as_json: Print JSON.
    """
    given = from_environment(os.environ)
    if sys.stdin.isatty() and not yes:
        given = ask(given, facts(as_json=as_json))
    require_whole(given, name)
    return asyncio.run(_set_up(given, name, overwrite=overwrite, as_json=as_json))


async def _write_live_report(credentials: str, archive: str, path: Path, *, as_json: bool) -> int:
    block = await load_block(KlingCredentials, credentials)
    studio = (await load_block(KlingArchive, archive)).get_archive()
    found = await live_report(block, studio, LOOKS)
    write_report(found, path)
    if as_json:
        print_json(found)
        return ExitCode.DONE
    for look in found.looks:
        text = (
            f"after {look.seconds:.0f} s: {look.frozen}; total changed by {look.total_changed_usd}"
        )
        say(text)
    text = (
        f"records not settled: {found.records_unsettled}, off the table: "
        f"{found.records_off_table}; written to {path}: it names no key, no job, "
        "no prompt and no balance"
    )
    say(text)
    return ExitCode.DONE


async def _set_up(given: dict[str, str], name: str, *, overwrite: bool, as_json: bool) -> int:
    async for finding in examine(DoctorContext(), [SERVER]):
        if finding.status is Status.FAULT:
            raise SetupRefused(
                f"the blocks are kept by a Prefect server, and {sentence(finding)} → {finding.fix}"
            )

    blocks = await set_up(given, name, overwrite=overwrite)
    if not as_json:
        for saved in blocks:
            say(line_of(saved))
        say()
    checks = await _examine(name, name, is_told=not as_json)
    faults = _faults(checks)
    if as_json:
        print_json(SetUp(blocks=tuple(blocks), checks=checks, faults=faults))
    return ExitCode.FAILED if faults else ExitCode.DONE


async def _examine(credentials: str, archive: str, *, is_told: bool) -> tuple[Check, ...]:
    """Return what every check found; `is_told`: say it, too, as soon as it is found."""
    checks = []
    async for finding in examine(DoctorContext(credentials, archive), CHECKS):
        if is_told:
            say(Styled(line(finding), COLOURS[finding.status]))
        found = sentence(finding)
        check = Check(check=finding.check, status=finding.status, found=found, fix=finding.fix)
        checks.append(check)
    return tuple(checks)


def _faults(checks: tuple[Check, ...]) -> int:
    return sum(check.status is Status.FAULT for check in checks)
