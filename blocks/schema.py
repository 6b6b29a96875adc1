"""JSON Schemas of our blocks, worked out once."""

from copy import deepcopy
from typing import Any

from pydantic import BaseModel

_KNOWN: dict[tuple[Any, ...], dict[str, Any]] = {}


class SchemaOnce(BaseModel):
    """A block whose JSON Schema is worked out once a process.

    Prefect asks for it again for every field whenever a block is stored, and a block inside another one multiplies
    that: storing an archive took one to two seconds of pure computing.
    """

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return a copy of the schema; whoever asks may change it."""
        key = (cls, args, tuple(sorted(kwargs.items())))
        if key not in _KNOWN:
            _KNOWN[key] = super().model_json_schema(*args, **kwargs)
        return deepcopy(_KNOWN[key])
