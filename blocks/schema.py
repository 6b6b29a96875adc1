"""JSON Schemas of our blocks, worked out once."""

import functools
from copy import deepcopy
from typing import Any

from pydantic import BaseModel


class SchemaOnce(BaseModel):
    """A block whose JSON Schema is worked out once a process.

    Prefect asks for it again for every field whenever a block is stored, and a block inside another one multiplies
    that: storing an archive took one to two seconds of pure computing.
    """

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return a copy of the schema; whoever asks may change it."""
        return deepcopy(_schema(cls, *args, **kwargs))


@functools.cache
def _schema(kind: type[SchemaOnce], *args: Any, **kwargs: Any) -> dict[str, Any]:
    found: dict[str, Any] = super(SchemaOnce, kind).model_json_schema(*args, **kwargs)
    return found
