"""One scene: every shot as soon as what it is made from is there."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from prefect import flow

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.clip import make_clip
from prefect_kling.runs.approval import ask
from prefect_kling.runs.job_limiter import Slots, Turn, current_slots, sharing
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named_after_film
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import FilmIncomplete, StoryboardInvalid
from prefect_kling.studio.film.plan import PlannedClip, PlannedScene
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import quote_film
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.submission import Terms
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.tasks import StoryboardGiven, hand_over_clip, prepare_storyboard
from prefect_kling.telemetry.progress import ShotNews, Stage, tell


@flow(
    flow_run_name=named_after_film("scene {scene} of {title}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
async def produce_scene(
    storyboard: StoryboardGiven,
    credentials: KlingCredentials,
    archive: KlingArchive,
    scene: int = 1,
    spending: Spending = Spending(),
) -> list[Clip]:
    """Make all shots of one scene of a storyboard and return their clips in order; the film later finds them.

    **Costs the sum of the shots that are not archived yet.** When shots fail the others are finished first, then
    `FilmIncomplete` names the failed ones.

    Args:
        storyboard: The film's storyboard (YAML or JSON), or where it is; see `produce_film`.
        credentials: Access to the Kling API.
        archive: Where clips and the ledger are kept.
        scene: Number of the scene, counted from 1.
        spending: How much the film may cost, other scenes included, and above what price a person is asked.
    """
    plan = plan_film(await prepare_storyboard(storyboard, archive))
    if not 1 <= scene <= len(plan.scenes):
        raise StoryboardInvalid(f"there is no scene {scene}: {plan.title} has {len(plan.scenes)}")
    planned, cap = plan.scenes[scene - 1], FilmCap(plan.slug, spending.budget_usd)
    quote = await quote_film(plan.only(scene), archive.get_archive(), resubmit=spending.resubmits)
    await in_thread(archive.get_archive().budget.check, quote.at_most_usd, cap)
    await ask(quote, spending)
    with sharing(Slots(credentials.parallel_jobs)):
        clips = await make_scene(planned, credentials, archive, Terms(cap, spending.on_unknown))
    return [clips[each.clip_key] for each in planned.clips]


async def make_scene(
    plan: PlannedScene, credentials: KlingCredentials, archive: KlingArchive, terms: Terms
) -> dict[str, Clip]:
    """Make a planned scene inside a flow and return its clips by key; see `produce_scene`."""
    slots, crew = current_slots(), _Crew(credentials, archive, terms)
    turns: dict[str, Turn] = {}
    making: dict[str, asyncio.Task[Clip]] = {}
    for clip in plan.clips:
        key = clip.clip_key
        tell(ShotNews(shot=clip.name, stage=Stage.WAITING, usd=clip.price.usd))
        if key in making:
            continue
        turns[key] = slots.one(plan.urgency[key])
        if clip.needs is None:
            work = crew.make(clip, turns[key])
        else:
            turns[clip.needs.clip_key].followers.append(turns[key])
            work = crew.make_after(making[clip.needs.clip_key], clip, turns[key])
        making[key] = asyncio.create_task(work, name=clip.name)
    done = await asyncio.gather(*making.values(), return_exceptions=True)
    return _all_made(plan, dict(zip(making, done, strict=True)))


class _NotBegun(Exception):
    """A shot waited for one that was not made."""


@dataclass(frozen=True)
class _Crew:
    """What all clips of a scene are made with."""

    credentials: KlingCredentials
    archive: KlingArchive
    terms: Terms

    async def make(self, planned: PlannedClip, turn: Turn) -> Clip:
        try:
            return await make_clip(
                planned.order, self.credentials, self.archive, self.terms, planned.name, turn
            )
        finally:
            turn.give_up()

    async def make_after(
        self, leader: asyncio.Task[Clip], planned: PlannedClip, turn: Turn
    ) -> Clip:
        """Make a clip from another one: as soon as that one's job has ended, be in the queue for a slot."""
        try:
            await asyncio.wait([leader])
            if leader.cancelled() or leader.exception() is not None or planned.needs is None:
                tell(
                    ShotNews(
                        shot=planned.name,
                        stage=Stage.WAITING,
                        words=f"{leader.get_name()} was not made",
                    )
                )
                raise _NotBegun(planned.name)
            await hand_over_clip(
                leader.result(),
                planned.needs,
                self.archive,
                f"{leader.get_name()} to {planned.name}",
            )
        except BaseException:
            turn.give_up()
            raise
        return await self.make(planned, turn)


def _all_made(plan: PlannedScene, made: Mapping[str, Clip | BaseException]) -> dict[str, Clip]:
    """Return the clips; raise `FilmIncomplete` naming the shots that stopped the scene."""
    broken = {key: error for key, error in made.items() if isinstance(error, BaseException)}
    if not broken:
        return {key: clip for key, clip in made.items() if isinstance(clip, Clip)}
    names = {clip.clip_key: clip.name for clip in reversed(plan.clips)}
    reasons = {
        names[key]: error for key, error in broken.items() if not isinstance(error, _NotBegun)
    }
    waiting = [names[key] for key, error in broken.items() if isinstance(error, _NotBegun)]
    after = f" ({', '.join(waiting)} could not begin without)" if waiting else ""
    raise FilmIncomplete(
        f"{len(reasons)} of {len(made)} clips of {plan.name} failed{after}:", reasons
    )
