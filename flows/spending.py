"""How much a run may spend, and who is asked."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

# Prefect's forms show a plain number, where pydantic's own schema of a decimal would offer a choice of types.
Usd = Annotated[Decimal, Field(ge=0), WithJsonSchema({"type": "number", "minimum": 0})]


class Spending(BaseModel):
    """Limits of what a run may spend. Nothing is sent before all of them are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    budget_usd: Usd | None = None
    """The most the film may cost in US dollars, earlier runs included."""
    approve_above_usd: Usd | None = None
    """Ask a person in the Prefect UI when this run may cost more than this. The run is suspended until then, and holds
    no worker; it needs a deployment."""
    approve_within_hours: Annotated[float, Field(gt=0, le=24 * 30)] = 72.0
    """How long to wait for the decision; afterwards the run fails and nothing is spent."""
    on_unknown: Literal["hold", "resubmit"] = "hold"
    """What to do when the answer to a paid request is lost: hold the clip until somebody decides, or send it again,
    which can pay twice."""

    @property
    def resubmits(self) -> bool:
        """Whether a request whose answer was lost is sent again."""
        return self.on_unknown == "resubmit"
