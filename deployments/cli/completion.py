"""`prefect-kling completion`: words that the shell completes."""

from typing import Annotated, Literal

from cyclopts import Parameter

from prefect_kling.deployments.cli.terminal import print_text, say


def completion(
    shell: Literal["bash", "zsh", "fish"] | None = None,
    *,
    install: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Print a script that completes words in your shell, or install it.

    Free. `--install` writes it where the shell looks for it.

    Args:
        shell: The shell; the one in use unless given.
        install: Write the script where the shell looks for it, instead of printing it, and add a
            line that reads it to the shell's start file.
    """
    from prefect_kling.deployments.cli.app import app

    if install:
        say(f"{app.install_completion(shell=shell)}: begin a new shell to use it")
        return
    print_text(app.generate_completion(shell=shell))
