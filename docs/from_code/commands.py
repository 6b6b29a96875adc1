"""The command line, as cyclopts describes it."""

from prefect_kling.deployments.cli.app import app


def commands() -> str:
    """Return a section for each command."""
    text = app.generate_docs(heading_level=1)
    # The page has a title and, in the site, a table of contents already.
    _, _, sections = text.partition("## Table of Contents")
    _, _, sections = sections.partition("**Commands**:")
    return sections
