"""The command line: `prefect-kling`.

A command's module is imported when the command is called: Prefect alone takes longer to import
than most commands take to run. The texts of the list of commands therefore stand here as well.
"""

import sys
from collections.abc import Sequence

import cyclopts
import httpx
from pydantic import ValidationError

from prefect_kling.deployments.cli.terminal import Styled, errors, say
from prefect_kling.kling.error_details import DetailedError

DEPLOYMENTS = "prefect_kling.deployments"
COMMANDS = {
    "automations:automations": (
        "Create the automations of this package, and renew those that nobody has changed.\n\n"
        "They send messages about alarms, and continue films when a clip is finished."
    ),
    "cli.batch:batch": (
        "Make the clips of a table, and keep a table of results in the archive.\n\n"
        "Costs money for every clip that is not archived yet; see `quote`. The exit code is 1 if\n"
        "a clip has failed or is held."
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
        "Free, safe to repeat. Schedules that are switched on, here or in the UI, stay on."
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
    "cli.sandbox:sandbox": "Run the local stand-in of the Kling API until it is interrupted.",
    "cli.schema:schema": "Print the JSON Schema of storyboards, for editors.",
    "cli.serve:serve": (
        "Serve every deployment of this package from this process until it is interrupted.\n\n"
        "No work pool is needed. Runs are processes of their own on this machine. What is\n"
        "deployed and how: see `deployments/prefect.yaml`."
    ),
}

app = cyclopts.App(name="prefect-kling", help="Kling Omni-Video as dependable Prefect work.")
for place, text in COMMANDS.items():
    app.command(f"{DEPLOYMENTS}.{place}", help=text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit. An expected error is printed without a traceback.

    Args:
        arguments: The words after `prefect-kling`; those of this process unless given.
    """
    if arguments is None:
        arguments = sys.argv[1:]
    try:
        app(arguments)
    except httpx.ConnectError as error:
        from prefect.settings import PREFECT_API_URL

        address = PREFECT_API_URL.value() or "http://127.0.0.1"
        _fail(
            "Error",
            f"the Prefect server at {address} cannot be reached; start it, or set "
            f"PREFECT_API_URL ({error})",
        )
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        _fail(type(error).__name__, str(error))


def _expected_errors() -> tuple[type[Exception], ...]:
    from prefect_kling.blocks.load import BlockMissing

    return DetailedError, BlockMissing, ValidationError, RuntimeError, OSError


def _fail(kind: str, message: str) -> None:
    say(Styled(kind, "red"), f": {message}", to=errors)
    sys.exit(1)
