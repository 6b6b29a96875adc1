"""Stored blocks by name, with an error that says how to create a missing one."""

from typing import TypeVar

from prefect.blocks.core import Block

B = TypeVar("B", bound=Block)


class BlockMissing(ValueError):
    """The Prefect server in use has no such block; nothing was sent and nothing was paid."""


async def load_block(kind: type[B], name: str) -> B:
    """Load a block of this kind by its name. Raises `BlockMissing`, which says how to create it."""
    try:
        return await kind.aload(name)
    except ValueError as error:
        slug = kind.get_block_type_slug()
        raise BlockMissing(
            f"there is no {kind.__name__} block named {name!r}: {error}\n"
            "Create it in the Prefect UI under Blocks"
            f" (after `prefect block register -m prefect_kling.blocks`, the type is {slug}),"
            " or in Python:\n"
            f"  from prefect_kling.blocks import {kind.__name__}\n"
            f"  {kind.__name__}(...).save({name!r})"
        ) from None
