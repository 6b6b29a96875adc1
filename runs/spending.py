"""How much a run may spend, and who is asked."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from prefect_kling.kling.form import FormModel
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.money.budget import FilmCap

# Prefect's forms show a plain number. For pydantic's own schema of a decimal they would offer a
# choice between types.
Usd = Annotated[Decimal, Field(ge=0), WithJsonSchema({"type": "number", "minimum": 0})]


class Spending(FormModel):
    """Limits of what a run may spend. They are checked before anything is sent."""

    budget_usd: Usd | None = Field(default=None, title="Budget (US$)")
    """The most that the film, the batch or the clip may cost, earlier runs included. Left empty,
    there is no limit."""
    approve_above_usd: Usd | None = Field(default=None, title="Ask above (US$)")
    """Ask a person in the Prefect UI when this run may cost more than this. The run is suspended
    until then, and holds no worker; it needs a deployment. Left empty, nobody is asked."""
    approve_within_hours: Annotated[
        float, Field(gt=0, le=24 * 30, title="Answer within (hours)")
    ] = 72.0
    """How long to wait for the decision; afterwards the run fails and nothing is spent."""
    on_unknown: Annotated[Literal["hold", "resubmit"], Field(title="When an answer is lost")] = (
        "hold"
    )
    """What to do when the answer to a paid request is lost: hold the clip until somebody decides,
    or send it again, which can pay twice."""

    @property
    def resubmits(self) -> bool:
        """Whether a request whose answer was lost is sent again."""
        return self.on_unknown == "resubmit"

    def cap_of(self, plan: FilmPlan) -> FilmCap:
        """Return the cap of a film."""
        return FilmCap(plan.slug, self.budget_usd, plan.earlier_slug)
