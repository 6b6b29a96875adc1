"""What is asked before money is spent, and what is said of it afterwards."""

from decimal import Decimal

from rich.console import Console

from prefect_kling.deployments.cli.terminal import Refused, confirm

RAISE_LIMIT = "Raise --approve-above-usd, or leave it out. Nothing was sent and nothing was paid."


def require_yes(question: str, next_step: str, to: Console) -> None:
    """Return if a person says yes. Raises `Refused`: nothing was sent."""
    if not confirm(question, next_step, to):
        raise Refused("not approved; nothing was sent and nothing was paid")


def told_paid(usd: Decimal) -> str:
    """Return what a run has paid, in words."""
    if usd == 0:
        return "Nothing was paid by this run: everything was there or under way already."
    return f"This run has paid ${usd}."
