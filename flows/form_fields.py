"""How the parameters of our flows are shown in the forms of the Prefect UI.

Prefect titles a parameter with its name. What stands under `json_schema_extra` wins over that.
"""

from datetime import date
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.runs.picks import Picks
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.film.retakes import MOST_RETAKES
from prefect_kling.tasks.requests import RequestsInput, WrongRows
from prefect_kling.tasks.storyboard import StoryboardInput, StoryInput

Account = Annotated[KlingCredentials, Field(json_schema_extra={"title": "Kling account"})]
ArchiveBlock = Annotated[KlingArchive, Field(json_schema_extra={"title": "Archive"})]
Limits = Annotated[Spending, Field(json_schema_extra={"title": "Limits and who pays"})]
StoryboardText = Annotated[StoryboardInput, Field(json_schema_extra={"title": "Storyboard"})]
StoryText = Annotated[StoryInput, Field(json_schema_extra={"title": "Storyboard"})]
VersionsTable = Annotated[str, Field(json_schema_extra={"title": "Table of versions"})]
VersionNames = Annotated[tuple[str, ...], Field(json_schema_extra={"title": "Versions to make"})]
WhichTakes = Annotated[Picks, Field(json_schema_extra={"title": "Where no take is picked"})]
Retakes = Annotated[
    int,
    Field(ge=0, le=MOST_RETAKES, json_schema_extra={"title": "Further takes of what looks wrong"}),
]
Table = Annotated[RequestsInput, Field(json_schema_extra={"title": "Table"})]
RowsWithMistakes = Annotated[
    WrongRows, Field(json_schema_extra={"title": "When rows have mistakes"})
]
# Forms send the default of an empty field, and for a plain field Prefect's server refuses null.
Day = Annotated[date | Literal[""] | None, WithJsonSchema({"type": "string", "format": "date"})]
Take = Annotated[int, Field(ge=1, json_schema_extra={"title": "Take"})]
WhenUnknown = Annotated[
    Literal["hold", "resubmit"], Field(json_schema_extra={"title": "When an answer is lost"})
]
