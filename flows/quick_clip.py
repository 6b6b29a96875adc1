"""One clip from a short form: what people without code start in the Prefect UI."""

from typing import Annotated, Any, Literal

from prefect import flow
from pydantic import BeforeValidator, ConfigDict, Field

from prefect_kling.flows.clip import make_clip
from prefect_kling.flows.form_fields import Account, ArchiveBlock, Limits, Take
from prefect_kling.kling.form import FormModel
from prefect_kling.kling.models import RateKind, find_model
from prefect_kling.kling.request import Url, VideoRequest
from prefect_kling.runs.authorization import authorize_clip, cap_of_clip
from prefect_kling.runs.failures import fails_in_words
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named
from prefect_kling.runs.resources import RunResources
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.telemetry.clip_page import write_clip_page

_MODEL = "kling-v3-omni"


def _none_if_empty(text: str | None) -> str | None:
    """Forms send an empty text for a field that was filled in and emptied again."""
    return text or None


def _prices(schema: dict[str, Any]) -> None:
    schema["description"] += f" A second costs {_rates('plain')}."


def _prices_with_sound(schema: dict[str, Any]) -> None:
    schema["description"] += f" A second with it costs {_rates('sound')}."


def _price_of_five(schema: dict[str, Any]) -> None:
    model = find_model(_MODEL)
    five = 5 * model.rate("std", "plain")
    dearest = model.max_seconds * model.highest_rate("pro")
    schema["description"] += (
        f" 5 seconds in 720p without sound cost ${five}; the dearest clip is ${dearest}."
    )


def _rates(kind: RateKind) -> str:
    """Return what a second costs, by the prices that are known when the form is made."""
    model = find_model(_MODEL)
    return f"${model.rate('std', kind)} in 720p, ${model.rate('pro', kind)} in 1080p"


class ClipForm(FormModel):
    """The choices most clips need; everything else is in the `clip` deployment."""

    model_config = ConfigDict(title="What to make")

    prompt: Annotated[
        str,
        Field(
            min_length=1,
            max_length=2500,
            title="What happens",
            description="Subject, movement, place, light, camera.",
            examples=["Gulls over a harbour at dawn, long lens, soft mist"],
        ),
    ]
    seconds: Annotated[
        int,
        Field(
            ge=3,
            le=15,
            title="Seconds",
            description="3 to 15; each is paid.",
            json_schema_extra=_price_of_five,
        ),
    ] = 5
    shape: Annotated[
        Literal["16:9", "9:16", "1:1"],
        Field(title="Shape", description="Ignored with a first frame."),
    ] = "16:9"
    quality: Annotated[
        Literal["720p", "1080p"],
        Field(title="Quality", description="The size of the picture.", json_schema_extra=_prices),
    ] = "720p"
    sound: Annotated[
        bool,
        Field(
            title="Sound",
            description="Let the model make sound.",
            json_schema_extra=_prices_with_sound,
        ),
    ] = False
    first_frame: Annotated[
        Url | None, BeforeValidator(_none_if_empty), Field(title="First frame")
    ] = None
    """Link to a picture the clip begins with; leave empty for none."""

    @property
    def headline(self) -> str:
        """The beginning of the prompt, for the run's name."""
        return self.request().headline

    def request(self) -> VideoRequest:
        """Return the request of these choices. Raises pydantic's `ValidationError`."""
        fields: dict[str, Any] = {
            "model": _MODEL,
            "prompt": self.prompt,
            "duration": self.seconds,
            "aspect_ratio": self.shape,
            "mode": {"720p": "std", "1080p": "pro"}[self.quality],
            "sound": "on" if self.sound else "off",
            "image_list": [],
        }
        if self.first_frame is not None:
            fields["image_list"] = [{"image_url": self.first_frame, "type": "first_frame"}]
        return VideoRequest.model_validate(fields)


@flow(
    name="quick-clip",
    flow_run_name=named("clip {clip.headline}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_in_words("clip")
async def quick_clip(
    clip: Annotated[ClipForm, Field(json_schema_extra={"title": "Clip"})],
    credentials: Account,
    archive: ArchiveBlock,
    take: Take = 1,
    spending: Limits = Spending(),
) -> Clip:
    """Make one clip and keep it in S3; a clip that was made before is returned and costs nothing.

    **Costs what the form says, once**; a run that is retried adopts the paid job.

    Args:
        clip: What to make.
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block with the bucket for the clip and the ledger. Empty means the block named
            default.
        take: Raise it to have another version made, and paid, of a clip that exists.
        spending: How much the clip may cost, and above what price a person is asked.
    """
    order = ClipOrder(request=clip.request(), take=take)
    await authorize_clip(order, archive, spending)
    options = spending.options(cap_of_clip(order, spending))
    made = await make_clip(order, RunResources(credentials, archive), options, "clip")
    await write_clip_page(made, archive)
    return made
