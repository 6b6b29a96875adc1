"""Markdown for artifacts in the Prefect UI.

A text from others stays a text: no link, no picture, no markup.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import httpx
from prefect.artifacts import acreate_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate
from prefect.exceptions import PrefectException

from prefect_kling.kling.server_words import one_line
from prefect_kling.studio.errors import StudioError
from prefect_kling.telemetry.logs import run_logger

_SPECIAL = re.compile(r"([\\`*_\[\]|~])")
_BEGINS_A_BLOCK = re.compile(r"^(#|>|=|-|\+|\d+(?=[.)]))")
# Renderers make links of bare addresses, whatever is escaped in them. A space of no width ends
# that.
_ADDRESS = re.compile(r"(?i)(\w:)(//)|(\bwww)(\.)|(\w@)(\w)")
_NO_WIDTH = "\u200b"


class Markdown(str):
    """Text that is Markdown already, written by us.

    Everything else is escaped where it joins it.
    """

    __slots__ = ()

    def format(self, *values: object, **named: object) -> "Markdown":
        """Fill in values: texts are escaped, Markdown and numbers stay as they are."""
        filled = str.format(
            self,
            *(_value(value) for value in values),
            **{name: _value(value) for name, value in named.items()},
        )
        return Markdown(filled)


def escape(text: str) -> Markdown:
    """Return a text as one line of Markdown that shows just that text."""
    if isinstance(text, Markdown):
        return text
    line = one_line(text)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _SPECIAL.sub(r"\\\1", line)
    line = _BEGINS_A_BLOCK.sub(_escape_begin, line)
    return Markdown(_ADDRESS.sub(_break_address, line))


def code(text: str) -> Markdown:
    """Return a text as code, which can be copied as it is."""
    line = one_line(text)
    runs = [len(run) for run in re.findall("`+", line)]
    fence = "`" * (max(runs, default=0) + 1)
    if line.startswith("`") or line.endswith("`"):
        line = f" {line} "
    # Tables end a cell at a bar even inside of code.
    return Markdown(f"{fence}{line.replace('|', chr(92) + '|')}{fence}")


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[Markdown]:
    """Return the lines of a table; cells that are no Markdown are escaped."""
    rule = [Markdown("---")] * len(headings)
    return [_table_line(cells) for cells in (headings, rule, *rows)]


def bullets(texts: Iterable[str], template: str = "- {}") -> list[Markdown]:
    """Return texts as a list, each filled into the template as `Markdown.format` does."""
    return [Markdown(template).format(text) for text in texts]


def _table_line(cells: Sequence[str]) -> Markdown:
    escaped = " | ".join(escape(cell) for cell in cells)
    return Markdown(f"| {escaped} |")


def page(lines: Sequence[Markdown]) -> Markdown:
    """Return lines as one page."""
    return Markdown("\n".join(lines))


async def write_page(key: str, content: Markdown, description: str) -> UUID:
    """Write a page as an artifact of the run, and return its id. Raises what Prefect raises.

    The description is a text, and escaped here: Prefect's UI reads it as Markdown, too.
    """
    created = await acreate_markdown_artifact(
        key=key, markdown=str(content), description=escape(description)
    )
    return UUID(str(created))


async def update_page(artifact_id: UUID, content: Markdown, description: str) -> None:
    """Replace what an artifact shows. Raises what Prefect raises."""
    async with get_client() as client:
        update = ArtifactUpdate(data=str(content), description=escape(description))
        await client.update_artifact(artifact_id, update)


@contextmanager
def log_view_errors() -> Iterator[None]:
    """Log an error in writing an artifact, and go on.

    An artifact only shows what was done. Errors of Prefect, of HTTP and of the store are logged,
    all others are raised.
    """
    try:
        yield
    except (PrefectException, httpx.HTTPError, StudioError) as error:
        run_logger().warning("an artifact could not be written, the run goes on: %s", error)


def _value(value: object) -> object:
    if isinstance(value, str):
        return escape(value)
    return value


def _escape_begin(begin: re.Match[str]) -> str:
    if begin[0].isdigit():
        return f"{begin[0]}\\"
    return f"\\{begin[0]}"


def _break_address(found: re.Match[str]) -> str:
    before = found[1] or found[3] or found[5]
    return f"{before}{_NO_WIDTH}{found[0][len(before) :]}"
