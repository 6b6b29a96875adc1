"""Which takes of a film's shots are picked: read for a plan, and asked for by a run."""

from collections import ChainMap
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NoReturn
from uuid import UUID

from prefect.exceptions import Pause
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import ConfigDict, Field, create_model

from prefect_kling.blocks import KlingArchive
from prefect_kling.runs.question import (
    earlier_answers,
    suspend_until_answered,
    why_nobody_can_be_asked,
)
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import TakesNotPicked
from prefect_kling.studio.film.plan import FilmPlan, PlannedClip, StoryPlan
from prefect_kling.studio.film.planner import plan_film, plan_story
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.takes import keep_first_pick, read_picks, read_story_picks
from prefect_kling.studio.film.versions import Story
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.telemetry.events import announce_open_picks, run_link
from prefect_kling.telemetry.logs import run_logger
from prefect_kling.telemetry.markdown import Markdown

Picks = Literal["ask", "first"]
"""What becomes of shots without a pick: somebody is asked, or take 1 counts."""
_KIND = "picks"


async def plan_with_picks(board: Storyboard, archive: KlingArchive) -> FilmPlan:
    """Return the plan of a film with the takes that were picked, here or in the archive.

    Free. Raises what `plan_film` and `read_picks` raise.
    """
    picks = await in_thread(read_picks, board, archive.get_archive())
    return plan_film(board, picks)


async def plan_story_with_picks(story: Story, archive: KlingArchive) -> StoryPlan:
    """Return the plans of a story's films with the takes that were picked, for each version.

    Free. Raises what `plan_story` and `read_picks` raise.
    """
    picks = await in_thread(read_story_picks, story, archive.get_archive())
    return plan_story(story, picks)


async def plan_with_answers(board: Storyboard, archive: KlingArchive) -> FilmPlan:
    """Return the plan of a film with all picks, those of this run's form among them.

    What was answered is kept in the archive first, and never in place of what somebody has picked
    meanwhile. Free, safe to repeat.
    """
    plan = await plan_with_picks(board, archive)
    if not plan.open_picks:
        return plan
    answer = ChainMap(*await earlier_answers(_KIND))
    for shot in plan.open_picks:
        choice = answer.get(_field(shot))
        choices = _choices(shot)
        # A storyboard at an address may have fewer takes by now.
        if choice not in choices:
            continue
        run_logger().info("%s: %s is picked", shot.shot_name, choice)
        take = choices.index(choice) + 1
        await in_thread(keep_first_pick, shot, take, plan.slug, archive.get_archive())
    return await plan_with_picks(board, archive)


async def ask_for_picks(plan: FilmPlan, page: Markdown, spending: Spending) -> NoReturn:
    """Suspend the run until somebody has picked takes of all shots without a pick.

    Its process ends; the run begins anew with the answer, which `plan_with_answers` finds. `page`
    shows the takes. Raises `TakesNotPicked` where nobody can be asked.
    """
    obstacle = why_nobody_can_be_asked()
    if obstacle:
        raise TakesNotPicked(f"{plan.told_of_open_picks}; {obstacle}")

    run_id = UUID(flow_run.id)
    until = datetime.now(UTC) + timedelta(hours=spending.approve_within_hours)
    shots = len(plan.open_picks)
    told = (
        f"takes of {shots} shots are to be picked: see them under Artifacts, and press Resume,"
        f" until {until:%Y-%m-%d %H:%M} UTC"
    )
    run_logger().warning("%s %s", told, run_link(run_id))
    try:
        await suspend_until_answered(_KIND, _form(plan.open_picks), page, told, until)
    except Pause:
        announce_open_picks(run_id, str(flow_run.name), shots, until)
        raise
    raise TakesNotPicked(plan.told_of_open_picks)


def _all_wanted(schema: dict[str, Any]) -> None:
    """Have the form of the UI call no pick optional, although take 1 is filled in."""
    schema["required"] = list(schema["properties"])


class _PicksForm(RunInput):
    model_config = ConfigDict(json_schema_extra=_all_wanted)


def _form(shots: Sequence[PlannedClip]) -> type[RunInput]:
    """Return a form with a choice for each shot."""
    fields: dict[str, Any] = {}
    for shot in shots:
        choices = _choices(shot)
        told = "What the film shows, and what the next shot is made from."
        field = Field(default=choices[0], title=shot.shot_name, description=told)
        fields[_field(shot)] = (Literal[choices], field)
    return create_model("Picks", __base__=_PicksForm, **fields)


def _field(shot: PlannedClip) -> str:
    return f"pick_{shot.first_take_key}"


def _choices(shot: PlannedClip) -> tuple[str, ...]:
    return tuple(f"take {take}" for take in range(1, shot.takes + 1))
