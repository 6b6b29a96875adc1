"""The command line: `prefect-kling`. How it ends is said in `exit_codes`.

A command's module is imported when the command is called: Prefect alone takes longer to import
than most commands take to run. The texts of the list of commands therefore stand here as well.
"""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

import cyclopts
import httpx
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from prefect_kling.deployments.cli.exit_codes import BROKEN_PIPE, after_signal, exit_code_of
from prefect_kling.deployments.cli.signals import ended_by_signals
from prefect_kling.deployments.cli.terminal import (
    Refused,
    Styled,
    accept_every_text,
    console,
    errors,
    say,
)
from prefect_kling.kling.error_details import DetailedError
from prefect_kling.kling.violations import ERROR_TYPE

DEPLOYMENTS = "prefect_kling.deployments"
COMMANDS = {
    "automations:automations": (
        "Create the automations of this package, and renew those that nobody has changed.\n\n"
        "They send messages about alarms, and continue films when a clip is finished."
    ),
    "cli.batch:batch": (
        "Make the clips of a table, and keep a table of results in the archive.\n\n"
        "Costs money for every clip that is not archived yet; see `quote`. The exit code is 1 if\n"
        "a clip has failed, 3 if one is held, and 4 if one is still under way."
    ),
    "cli.clip:clip": (
        "Make one clip from a prompt.\n\n"
        "Costs money unless it is archived already; the price is told first. Safe to repeat:\n"
        "the same words bring the same clip, and nothing is paid again."
    ),
    "cli.collect:collect": (
        "Look once at every clip that is paid and not finished, whoever started it.\n\n"
        "Free, safe beside anything else. Finished videos are archived, failed jobs closed. The\n"
        "exit code is 3 if a clip needs a person, and 1 if one could not be looked at."
    ),
    "cli.completion:completion": (
        "Print a script that completes words in your shell, or install it.\n\n"
        "Free. `--install` writes it where the shell looks for it."
    ),
    "cli.doctor:doctor": (
        "Check everything a production run needs, and say what is wrong and what to do.\n\n"
        "Free. The exit code is 1 if there is a fault."
    ),
    "cli.doctor:setup": (
        "Create the blocks from questions, or from the environment; then run the doctor.\n\n"
        "With --yes or without a terminal nothing is asked. Read from the environment:\n"
        "APIMODELS_API_KEY, KLING_BUCKET; optional APIMODELS_BASE_URL, KLING_PREFIX,\n"
        "KLING_RECEIVER_URL, KLING_RECEIVER_SECRET and the AWS variables. What is not given\n"
        "stays as a block has it."
    ),
    "cli.export:export": (
        "Bring a film to disk: film, clips, contact sheet, manifest, and timelines for editors.\n\n"
        "Free but for the store's traffic. What is there and right is left as it is: an\n"
        "interrupted export goes on. Each file is checked against the manifest."
    ),
    "cli.film:demo": (
        "Make a film on this machine with painted pictures: no key, no cloud, no cost."
    ),
    "cli.film:film": (
        "Make a film from a storyboard, or a film of each of its versions.\n\n"
        "Costs money for every shot that is not archived yet; see `quote`."
    ),
    "cli.pick:pick": (
        "Pick takes of shots, as in `prefect-kling pick film.yaml 1.2=3 2.1=1`.\n\n"
        "Free: says what changes, and what a run would then pay. Without picks it shows the\n"
        "takes, with links to watch."
    ),
    "cli.project:init": (
        "Write prefect.yaml, a Dockerfile and .env.example into your project.\n\n"
        "Free, safe to repeat. A file that is there and differs is left as it is, and the\n"
        "new one is written beside it with `.new` at its end: take over what you like."
    ),
    "cli.project:deploy": (
        "Deploy to a work pool, which is made if there is none, and switch schedules on.\n\n"
        "Free, safe to repeat. Schedules that are switched on, here or in the UI, stay on; those\n"
        "that somebody has added stay, and so do changed times, unless the file is yours."
    ),
    "cli.quote:quote": (
        "Show what is to be paid for the shots of a storyboard, or for the rows of a table.\n\n"
        "Says what each costs and whether it exists already. Free, needs no key."
    ),
    "cli.ledger:ledger": "Show what was paid, and decide about held clips.",
    "cli.receiver:receiver": (
        "Answer the API's callbacks until interrupted; archive each finished clip at once.\n\n"
        "Free. Put it behind TLS at the receiver URL of the credentials block; it answers below\n"
        "that URL's path, and `/health`."
    ),
    "cli.report:report": (
        "Show what was paid, for whom: by project, client, film, month, model and so on.\n\n"
        "Free but for the store's traffic: it reads the record of every clip. Amounts are in\n"
        "US dollars."
    ),
    "cli.decide:retry": (
        "Allow one more attempt at a failed clip, or at a held one that was not made.\n\n"
        "Sends nothing: run the clip or the film again for that. A friendly name of `ledger\n"
        "retry` and `ledger release`."
    ),
    "cli.decide:give_up": (
        "Wait no longer for a clip, or for all held and failed clips of a film.\n\n"
        "Sends nothing. What may have been paid is booked, and they are never sent again by\n"
        "themselves. A friendly name of `ledger give-up`."
    ),
    "cli.sandbox:sandbox": "Run the local stand-in of the Kling API until it is interrupted.",
    "cli.schema:schema": "Print the JSON Schema of storyboards, for editors.",
    "cli.serve:serve": (
        "Serve every deployment of this package from this process until it is interrupted.\n\n"
        "No work pool is needed. Runs are processes of their own on this machine. What is\n"
        "deployed and how: see `deployments/prefect.yaml`."
    ),
    "cli.watch:watch": (
        "Show what is under way in the archive until nothing is left.\n\n"
        "Free: it reads the ledger, and neither sends nor archives anything. A table in a\n"
        "terminal, elsewhere a line for each change. The exit code is 3 if only held clips are\n"
        "left."
    ),
}

app = cyclopts.App(
    name="prefect-kling", help="Kling Omni-Video as dependable Prefect work.", console=console
)
for place, text in COMMANDS.items():
    app.command(f"{DEPLOYMENTS}.{place}", help=text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit. An expected error is printed without a traceback.

    Args:
        arguments: The words after `prefect-kling`; those of this process unless given.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    accept_every_text()
    try:
        _run(arguments)
    except BrokenPipeError:
        # Python would try to write what is left once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)


def _run(arguments: Sequence[str]) -> None:
    try:
        try:
            with ended_by_signals():
                app(arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        sys.exit(after_signal(signal.SIGINT))
    except EOFError:
        _fail("Refused", "there was no answer; nothing was changed and nothing was sent")
    except httpx.ConnectError as error:
        from prefect.settings import PREFECT_API_URL

        address = PREFECT_API_URL.value() or "http://127.0.0.1"
        _fail(
            "Error",
            f"the Prefect server at {address} cannot be reached ({error}); start one with "
            "`prefect server start`, or set PREFECT_API_URL",
        )
    except Exception as error:
        _tell(error)


def _tell(error: Exception) -> None:
    """Print an expected error as a sentence and exit; raise any other again."""
    if isinstance(error, Refused):
        _fail("Refused", str(error), exit_code_of(error))
    if isinstance(error, DetailedError):
        _fail("Error", _with_name(error), exit_code_of(error))
    if isinstance(error, OSError) and error.strerror:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        _fail("Error", f"{where}{error.strerror.lower()}")
    if isinstance(error, ValidationError):
        _fail("Error", "; ".join(_of_field(each) for each in error.errors()))
    if isinstance(error, _expected_errors()):
        _fail("Error", _with_name(error))
    raise error


def _with_name(error: Exception) -> str:
    """Return an error's sentence, and behind it the name that the reference explains it under."""
    return f"{error} [{type(error).__name__}]"


def _of_field(wrong: ErrorDetails) -> str:
    """Return what is wrong with a field in words; rules of the API name their fields themselves."""
    words = wrong["msg"].removeprefix("Value error, ")
    if not wrong["loc"] or wrong["type"] == ERROR_TYPE:
        return words
    return f"{'.'.join(map(str, wrong['loc']))}: {words}"


def _expected_errors() -> tuple[type[Exception], ...]:
    from prefect.exceptions import PrefectException

    from prefect_kling.blocks.load import BlockMissing

    return BlockMissing, PrefectException, httpx.HTTPError, httpx.InvalidURL, RuntimeError, OSError


def _fail(kind: str, message: str, exit_code: int = 1) -> NoReturn:
    say(Styled(kind, "red"), f": {message}", to=errors)
    sys.exit(exit_code)
