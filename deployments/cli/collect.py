"""`prefect-kling collect`: the sweep."""

from typing import Annotated

from cyclopts import Parameter

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.chosen_blocks import Blocks
from prefect_kling.deployments.cli.documents import Collected
from prefect_kling.deployments.cli.exit_codes import ExitCode
from prefect_kling.deployments.cli.signals import run
from prefect_kling.deployments.cli.terminal import AsJson, Styled, print_json, say
from prefect_kling.flows.collect import ATTENTION, collect_finished
from prefect_kling.studio.money.reconcile import Findings

_FOR_A_PERSON = ("held", "quarantined", "gone", "expiring")


def collect(
    *,
    blocks: Annotated[Blocks, Parameter(name="*")] = Blocks(),
    at_once: int = 32,
    as_json: AsJson = False,
) -> int:
    """Look once at every clip that is paid and not finished, whoever started it.

    Free, safe beside anything else. Finished videos are archived, failed jobs closed. The
    exit code is 3 if a clip needs a person, and 1 if one could not be looked at.

    Args:
        blocks: The blocks to use.
        at_once: How many clips to look at at a time.
        as_json: Print JSON.
    """
    findings = run(_collect(blocks, at_once))
    if as_json:
        print_json(Collected.of(findings))
    else:
        _show(findings)
    if any(findings.counts.get(kind) for kind in _FOR_A_PERSON):
        return ExitCode.HELD
    if findings.counts.get("trouble"):
        return ExitCode.FAILED
    return ExitCode.DONE


async def _collect(blocks: Blocks, at_once: int) -> Findings:
    credentials = await load_block(KlingCredentials, blocks.credentials)
    archive = await load_block(KlingArchive, blocks.archive)
    return await collect_finished(credentials, archive, at_once=at_once)


def _show(findings: Findings) -> None:
    if not findings.counts:
        say("Nothing was open.")
    for kind, count in sorted(findings.counts.items()):
        say(f"{count} {kind}")
    for kind in ATTENTION:
        for clip_key, words in findings.named.get(kind, {}).items():
            say(Styled(f"{kind} ", "red"), f"{clip_key}: {words}")
            say(f"  prefect-kling ledger show {clip_key}")
