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
from prefect_kling.deployments.cli.documents import Check, Examined
from prefect_kling.deployments.cli.exit_codes import ExitCode
from prefect_kling.deployments.cli.setup import (
    SetupRefused,
    ask,
    from_environment,
    require_whole,
    set_up,
)
from prefect_kling.deployments.cli.terminal import AsJson, Styled, console, print_json, say
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
        as_json: Print JSON.
    """
    if live:
        return asyncio.run(_write_live_report(credentials, archive, report))
    return asyncio.run(_examine(credentials, archive, as_json=as_json))


def setup(
    *,
    name: str = "default",
    yes: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
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
    """
    given = from_environment(os.environ)
    if sys.stdin.isatty() and not yes:
        given = ask(given, console)
    require_whole(given, name)
    return asyncio.run(_set_up(given, name, overwrite=overwrite))


async def _write_live_report(credentials: str, archive: str, path: Path) -> int:
    block = await load_block(KlingCredentials, credentials)
    studio = (await load_block(KlingArchive, archive)).get_archive()
    found = await live_report(block, studio, LOOKS)
    write_report(found, path)
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
    return 0


async def _set_up(given: dict[str, str], name: str, *, overwrite: bool) -> int:
    async for finding in examine(DoctorContext(), [SERVER]):
        if finding.status is Status.FAULT:
            raise SetupRefused(
                f"the blocks are kept by a Prefect server, and {sentence(finding)} → {finding.fix}"
            )

    for text in await set_up(given, name, overwrite=overwrite):
        say(text)
    say()
    return await _examine(name, name)


async def _examine(credentials: str, archive: str, *, as_json: bool = False) -> int:
    checks = []
    faults = 0
    async for finding in examine(DoctorContext(credentials, archive), CHECKS):
        if finding.status is Status.FAULT:
            faults += 1
        if as_json:
            found = sentence(finding)
            check = Check(check=finding.check, status=finding.status, found=found, fix=finding.fix)
            checks.append(check)
        else:
            say(Styled(line(finding), COLOURS[finding.status]))
    if as_json:
        print_json(Examined(checks=tuple(checks), faults=faults))
    return ExitCode.FAILED if faults else ExitCode.DONE
