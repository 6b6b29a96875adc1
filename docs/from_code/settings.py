"""Environment variables."""

from docs.from_code.markdown import code, table
from prefect_kling.deployments.cli import setup
from prefect_kling.kling.connections import PROXY_VARIABLES
from prefect_kling.kling.models import FILE_SETTING


def settings() -> str:
    """Return the variables that `setup` reads, and those that every process reads."""
    asked = []
    for question in setup.QUESTIONS:
        names = " or ".join(map(code, question.variables))
        needed = {True: "yes", False: "no"}[question.is_required]
        asked.append((names, question.text, needed))
    read = (
        (code(FILE_SETTING), "a file of models and prices: see [models](models.md#modelsfile)"),
        (", ".join(map(code, PROXY_VARIABLES)), "an HTTP proxy, as httpx and boto3 read it"),
    )
    return (
        "## Read by `prefect-kling setup`\n\n"
        + table(("variable", "holds", "required"), asked)
        + "\n## Read by every process\n\n"
        + table(("variable", "holds"), read)
    )
