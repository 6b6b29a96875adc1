"""Models of the API: limits and prices."""

from docs.from_code.markdown import code, table
from docs.from_code.python_names import default, fields, meaning
from prefect_kling.kling.models import BUILT_IN_MODELS, ModelsFile, ModelSpecification

PRICES = ("rates", "rates_are_confirmed")
SECONDS = 5


def models() -> str:
    """Return limits, then prices, of all built-in models."""
    names = [code(model.name) for model in BUILT_IN_MODELS]
    limits = []
    for name, field in ModelSpecification.model_fields.items():
        if name in ("name", *PRICES):
            continue
        values = [_value(getattr(model, name)) for model in BUILT_IN_MODELS]
        limits.append((code(name), *values, field.description))
    return (
        "## Limits\n\n"
        + table(("limit", *names, "meaning"), limits)
        + "\n## Prices\n\n"
        + table(("model", "mode", "kind", "US$ a second", f"{SECONDS} s"), _prices())
    )


def _prices() -> list[tuple[str, ...]]:
    rows = []
    for model in BUILT_IN_MODELS:
        for mode, rates in model.rates.items():
            for kind, rate in rates.items():
                price = f"${rate * SECONDS}"
                rows.append((code(model.name), code(mode), code(kind), f"{rate}", price))
    return rows


def _value(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return {True: "yes", False: "no"}[value]
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return str(value)


def models_file() -> str:
    """Return what a file of models may hold."""
    rows = [
        (code(name), default(field), meaning(field))
        for name, field in ModelSpecification.model_fields.items()
    ]
    return f"## ModelsFile\n\n{fields(ModelsFile)}\n## ModelSpecification\n\n" + table(
        ("field", "default", "meaning"), rows
    )
