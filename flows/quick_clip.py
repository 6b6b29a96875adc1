"""One clip from a short form: what people without code start in the Prefect UI."""

from typing import Annotated, Any, Literal

from prefect import flow
from pydantic import BeforeValidator, Field

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.clip import make_clip
from prefect_kling.kling.form import FormModel
from prefect_kling.kling.request import Url, VideoRequest
from prefect_kling.runs.authorization import authorize_clip, cap_of_clip
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.resources import RunResources
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.telemetry.clip_page import write_clip_page


def _none_if_empty(text: str | None) -> str | None:
    """Forms send an empty text for a field that was filled in and emptied again."""
    return text or None


class ClipForm(FormModel):
    """The choices most clips need; everything else is in the `clip` deployment."""

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
        int, Field(ge=3, le=15, title="Seconds", description="3 to 15; you pay for each.")
    ] = 5
    shape: Annotated[
        Literal["16:9", "9:16", "1:1"],
        Field(title="Shape", description="Ignored with a first frame."),
    ] = "16:9"
    quality: Annotated[
        Literal["720p", "1080p"], Field(title="Quality", description="1080p costs a third more.")
    ] = "720p"
    sound: Annotated[
        bool,
        Field(title="Sound", description="Let the model make sound; costs half as much again."),
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
            "model": "kling-v3-omni",
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
    flow_run_name="clip {clip.headline}",
    persist_result=False,
    on_failure=[name_missing_blocks],
)
async def quick_clip(
    clip: ClipForm,
    credentials: KlingCredentials,
    archive: KlingArchive,
    take: Annotated[int, Field(ge=1)] = 1,
    spending: Spending = Spending(),
) -> Clip:
    """Make one clip and keep it in S3; a clip that was made before is returned and costs nothing.

    **Costs what the form says, once**; a run that is retried adopts the paid job.

    Args:
        clip: What to make.
        credentials: Access to the Kling API.
        archive: Where the clip and the ledger are kept.
        take: Raise it to have another version made, and paid, of a clip that exists.
        spending: How much the clip may cost, and above what price a person is asked.
    """
    order = ClipOrder(request=clip.request(), take=take)
    await authorize_clip(order, archive, spending)
    options = spending.options(cap_of_clip(order, spending))
    made = await make_clip(order, RunResources(credentials, archive), options, "clip")
    await write_clip_page(made, archive)
    return made
