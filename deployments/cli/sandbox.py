"""`prefect-kling sandbox`: the stand-in of the API, and an S3 server beside it."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from prefect_kling.deployments.cli.ports import port_in_words
from prefect_kling.deployments.cli.signals import until_ended
from prefect_kling.sandbox import SandboxSettings
from prefect_kling.sandbox import serve as serve_sandbox
from prefect_kling.sandbox.faults import parse_faults
from prefect_kling.sandbox.host import listen
from prefect_kling.sandbox.named_faults import fault_list

USUAL_PORT = 8484

_FAULT_HELP = f"""A fault of the list below, with the share of calls, such as `late-links:0.05`;
without a share every call. May be given several times.

{fault_list()}
"""


def _read_fault(text: str, seed: int = 0) -> dict[str, Any]:
    """Read `NAME` or `NAME:RATE` as a rule that holds for ever. Raises ValueError."""
    name, _, rate = text.partition(":")
    rule = {"name": name, "rate": float(rate or "1"), "seed": seed, "times": None}
    parse_faults([rule])
    return rule


def _check_faults(type_: object, texts: list[str] | None) -> None:
    for text in texts or ():
        _read_fault(text)


def sandbox(
    port: int | None = None,
    folder: Path | None = None,
    render_seconds: Annotated[tuple[float, float], Parameter(negative="")] = (2.0, 6.0),
    *,
    store: Annotated[bool, Parameter(negative="")] = False,
    fault: Annotated[
        list[str] | None, Parameter(negative="", help=_FAULT_HELP, validator=_check_faults)
    ] = None,
    seed: int = 0,
) -> None:
    """Run the local stand-in of the Kling API until it is interrupted.

    Args:
        port: Where it listens, on 127.0.0.1; where it listened before with this folder, or 8484.
        folder: Where jobs, videos, ports and keys are kept across restarts, and with --store the
            data of the S3 server: blocks made once go on working. A temporary folder unless given.
        render_seconds: Shortest and longest render time.
        store: Run an S3 server with a bucket, too, and print what `prefect-kling setup` needs.
        fault: See the list.
        seed: Decides which calls the faults spoil, and job ids and render times.
    """
    rules = tuple(_read_fault(text, seed) for text in fault or ())
    chosen = _port(port, folder)
    settings = SandboxSettings(
        port=chosen, folder=folder, render_seconds=render_seconds, seed=seed, faults=rules
    )
    next_step = f"End that, or take another port: prefect-kling sandbox --port {chosen + 1}"
    with until_ended(), port_in_words(settings.host, chosen, next_step):
        # Before the S3 server is started, which takes seconds.
        listen(settings).close()
        if not store:
            serve_sandbox(settings)
            return

        # The S3 server belongs to the extra `demo`.
        from prefect_kling.deployments.local.practice import serve_with_store

        serve_with_store(settings, folder)


def _port(given: int | None, folder: Path | None) -> int:
    """Return the port that was given, else the one that the folder keeps, else the usual one.

    The folder keeps it.
    """
    if folder is None:
        return given or USUAL_PORT
    from prefect_kling.deployments.local.practice import Practice, keep_practice, kept_practice

    kept = kept_practice(folder)
    port = given or USUAL_PORT
    if given is None and kept is not None:
        port = kept.port
    keep_practice(Practice(port=port, s3=kept.s3 if kept is not None else None), folder)
    return port
