"""JSON Schemas of our blocks, computed once."""

import functools
from copy import deepcopy
from typing import Any

from prefect.blocks.core import Block, schema_extra
from pydantic import BaseModel, ConfigDict


class CachedSchema(BaseModel):
    """A block whose JSON Schema is computed once in a process.

    Prefect asks for it again for every field whenever a block is stored, and a block inside another
    one multiplies that: storing an archive took one to two seconds of computing.
    """

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return a copy of the schema, which the caller may change."""
        return deepcopy(_schema(cls, *args, **kwargs))


@functools.cache
def _schema(block: type[CachedSchema], *args: Any, **kwargs: Any) -> dict[str, Any]:
    schema: dict[str, Any] = super(CachedSchema, block).model_json_schema(*args, **kwargs)
    return schema


def _add_block_facts(schema: dict[str, Any], block: type[Block]) -> None:
    schema.update(deepcopy(_block_facts(block)))


@functools.cache
def _block_facts(block: type[Block]) -> dict[str, Any]:
    facts: dict[str, Any] = {}
    schema_extra(facts, block)
    return facts


CACHED_FACTS = ConfigDict(json_schema_extra=_add_block_facts)
"""Configuration of a block: what Prefect adds to its schema is computed once in a process.

A flow that takes a block has the block's schema inside its own, and Prefect computes the checksums
of all blocks inside that block for each such flow. Importing our flows took 0.8 s longer with that.
Each block names this itself: of what it inherits, pydantic takes the configuration of `Block`.
"""
