"""What `prefect-kling doctor` and `prefect-kling setup` do."""

import asyncio
import os
import sys

from rich.console import Console

from prefect_kling.deployments.cli.setup import (
    SetupRefused,
    ask,
    from_environment,
    require_whole,
    set_up,
)
from prefect_kling.deployments.doctor import Finding, Verdict, Visit, examine
from prefect_kling.deployments.doctor_checks import CHECKS

COLOURS = {
    Verdict.OK: "green",
    Verdict.HINT: "yellow",
    Verdict.FAULT: "red",
    Verdict.SKIPPED: "dim",
}
console = Console()


def doctor(credentials: str, archive: str) -> int:
    """Print a line for every check; 1 if there is a fault."""
    return asyncio.run(_examine(credentials, archive))


def setup(name: str, *, yes: bool, overwrite: bool) -> int:
    """Create blocks from the environment and, at a terminal, from answers; then print what the doctor finds."""
    given = from_environment(os.environ)
    if sys.stdin.isatty() and not yes:
        given = ask(given, console)
    require_whole(given, name)
    return asyncio.run(_set_up(given, name, overwrite=overwrite))


async def _set_up(given: dict[str, str], name: str, *, overwrite: bool) -> int:
    async for found in examine(Visit(), CHECKS[:1]):
        if found.verdict is Verdict.FAULT:
            raise SetupRefused(
                f"the blocks are kept by a Prefect server, and {found.words} → {found.cure}"
            )
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
    console.print(
        str(found), style=COLOURS[found.verdict], highlight=False, soft_wrap=True, markup=False
    )
