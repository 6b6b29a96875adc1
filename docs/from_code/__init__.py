"""The reference of the site, read from the code when the site is built.

A page of `docs/reference` says in words what its subject is, and has a mark where the code speaks:
`<!-- from code: events -->`. When the site is built, Markdown made from the code takes the mark's
place. Nothing of that is kept in a file, so that it cannot be older than the code.
"""

import re
from collections.abc import Callable

from docs.from_code import (
    bucket,
    commands,
    errors,
    events,
    models,
    prefect_parts,
    python_names,
    settings,
)

SECTIONS: dict[str, Callable[[], str]] = {
    "blocks": prefect_parts.blocks,
    "flows": prefect_parts.flows,
    "deployments": prefect_parts.deployments,
    "tasks": prefect_parts.tasks,
    "names": python_names.names,
    "storyboards": python_names.storyboards,
    "models": models.models,
    "models-file": models.models_file,
    "events": events.events,
    "errors": errors.errors,
    "settings": settings.settings,
    "commands": commands.commands,
    "bucket": bucket.bucket,
}
MARK = re.compile(r"^<!-- from code: ([\w-]+) -->$", re.MULTILINE)


def filled(page: str) -> str:
    """Return a page with what the code says in place of its marks. Raises `KeyError`."""
    return MARK.sub(lambda mark: SECTIONS[mark[1]](), page)
