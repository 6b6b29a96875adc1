"""`prefect-kling doctor` and `prefect-kling setup`."""

import asyncio
import os
import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from prefect_kling.deployments.doctor import Finding, Verdict, Visit, examine
from prefect_kling.deployments.doctor_checks import CHECKS
from prefect_kling.deployments.setup import SetupRefused, ask, from_environment, require_whole, set_up

COLOURS = {Verdict.OK: "green", Verdict.HINT: "yellow", Verdict.FAULT: "red", Verdict.SKIPPED: "dim"}
console = Console()


def doctor(*, credentials: str = "default", archive: str = "default") -> int:
    """Check everything a production run needs, and say what is wrong and what to do. Free; exit code 1 for a fault.

    Args:
        credentials: Name of the KlingCredentials block.
        archive: Name of the KlingArchive block.
    """
    return asyncio.run(_examine(credentials, archive))


def setup(
    *,
    name: str = "default",
    yes: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Create the blocks from questions, or from the environment with --yes or without a terminal; then run the doctor.

    Read from the environment: APIMODELS_API_KEY, KLING_BUCKET; optional APIMODELS_BASE_URL, KLING_PREFIX,
    KLING_RECEIVER_URL, KLING_RECEIVER_SECRET and the AWS variables. What is not given stays as a block has it.

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


async def _set_up(given: dict[str, str], name: str, *, overwrite: bool) -> int:
    async for found in examine(Visit(), CHECKS[:1]):
        if found.verdict is Verdict.FAULT:
            raise SetupRefused(f"the blocks are kept by a Prefect server, and {found.words} → {found.cure}")
    for line in await set_up(given, name, overwrite=overwrite):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
    console.print()
    return await _examine(name, name)


async def _examine(credentials: str, archive: str) -> int:
    found = []
    async for each in examine(Visit(credentials, archive), CHECKS):
        found.append(each)
        _tell(each)
    return int(any(each.verdict is Verdict.FAULT for each in found))


def _tell(found: Finding) -> None:
    console.print(str(found), style=COLOURS[found.verdict], highlight=False, soft_wrap=True, markup=False)
