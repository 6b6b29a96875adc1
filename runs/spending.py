"""How much a run may spend, who is asked, and who pays."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema

from prefect_kling.kling.form import FormModel
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.submission import SubmitOptions
from prefect_kling.studio.money.tags import Tags, parse_tags, written_tags

# Prefect's forms show a plain number. For pydantic's own schema of a decimal they would offer a
# choice between types.
Usd = Annotated[Decimal, Field(ge=0), WithJsonSchema({"type": "number", "minimum": 0})]
# Forms show a list of texts; programs may pass names and values.
FormTags = Annotated[
    Tags,
    BeforeValidator(parse_tags),
    PlainSerializer(written_tags),
    WithJsonSchema({"type": "array", "items": {"type": "string"}}),
]


class Spending(FormModel):
    """Limits of what a run may spend. They are checked before anything is sent."""

    model_config = ConfigDict(title="Limits")

    budget_usd: Usd | None = Field(default=None, title="Budget (US$)")
    """The most that the film, the batch or the clip may cost, earlier runs included. Left empty,
    there is no limit."""
    approve_above_usd: Usd | None = Field(default=None, title="Ask above (US$)")
    """Ask a person in the Prefect UI when this run may cost more than this. The run is suspended
    until then, and holds no worker; it needs a deployment. Left empty, nobody is asked."""
    approve_within_hours: Annotated[
        float, Field(gt=0, le=24 * 30, title="Answer within (hours)")
    ] = 72.0
    """How long to wait for the decision, or for picks of takes; afterwards the run fails, and
    nothing more is spent."""
    on_unknown: Annotated[Literal["hold", "resubmit"], Field(title="When an answer is lost")] = (
        "hold"
    )
    """What to do when the answer to a paid request is lost: hold the clip until somebody decides,
    or send it again, which can pay twice."""

    tags: FormTags = Field(default_factory=dict, title="Tags")
    """Who pays: project=spring, client=Acme or names of your own; reports sum up by them. What the
    storyboard or a row of the table says wins."""

    @property
    def resubmits(self) -> bool:
        """Whether a request whose answer was lost is sent again."""
        return self.on_unknown == "resubmit"

    def cap_of(self, plan: FilmPlan) -> FilmCap:
        """Return the cap of a film."""
        return FilmCap(plan.slug, self.budget_usd, plan.earlier_slug)

    def options_of(self, plan: FilmPlan) -> SubmitOptions:
        """Return what the clips of a film are submitted with."""
        return self.options(self.cap_of(plan), plan.tags)

    def options(self, cap: FilmCap | None, tags: Mapping[str, str] | None = None) -> SubmitOptions:
        """Return what clips are submitted with; `tags` are those of the document, and win."""
        return SubmitOptions(cap, self.on_unknown, tags=self.tags).with_tags(tags or {})
