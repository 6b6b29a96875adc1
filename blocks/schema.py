"""JSON Schemas of our blocks, computed once."""

import functools
from copy import deepcopy
from typing import Any

from pydantic import BaseModel


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
