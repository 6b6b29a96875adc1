"""Models that people fill in: optional fields are plain fields that may be left empty."""

from typing import Any

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer


def _plain_fields(schema: dict[str, Any]) -> None:
    """Rewrite what may be None as a field without a default, not as `anyOf: [thing, null]`.

    For the latter the forms of the Prefect UI show a switch between two types in place of the
    field; and they leave an empty field out of what they send only where the default is not null.
    """
    for field in schema.get("properties", {}).values():
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) != 1:
            continue
        del field["anyOf"]
        for name, value in kinds[0].items():
            field.setdefault(name, value)
        if field.get("default", ...) is None:
            del field["default"]


class FormModel(BaseModel):
    """A model whose JSON Schema makes a good form in the Prefect UI.

    What was not said is not written either.

    Prefect refuses a run whose parameters hold null where its form has a plain field.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, json_schema_extra=_plain_fields
    )

    @model_serializer(mode="wrap")
    def _without_nulls(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in write(self).items() if value is not None}
