"""One scene: every shot is made as soon as the clip it is made from is there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated

from prefect import flow
from pydantic import Field

from prefect_kling.flows.clip import make_best_take, make_clip
from prefect_kling.flows.form_fields import Account, ArchiveBlock, Limits, StoryboardText
from prefect_kling.runs.authorization import authorize_film
from prefect_kling.runs.failures import fails_in_words
from prefect_kling.runs.job_limiter import Lease
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named_after_film
from prefect_kling.runs.picks import plan_with_picks
from prefect_kling.runs.resources import RunResources
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import FilmIncomplete, StoryboardInvalid
from prefect_kling.studio.film.plan import Handover, PlannedClip, PlannedScene
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.submission import SubmitOptions
from prefect_kling.tasks import hand_over_clip, prepare_storyboard
from prefect_kling.telemetry.film_page import FilmPage
from prefect_kling.telemetry.progress import ShotProgress, Stage


@flow(
    flow_run_name=named_after_film("scene {scene} of {title}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_in_words("film")
async def produce_scene(
    storyboard: StoryboardText,
    credentials: Account,
    archive: ArchiveBlock,
    scene: Annotated[int, Field(json_schema_extra={"title": "Scene number"})] = 1,
    spending: Limits = Spending(),
) -> list[Clip]:
    """Make all shots of one scene and return their clips in order; the film finds them later.

    **Costs the sum of the shots that are not archived yet.** Of a shot with several takes all are
    made, and the picked one is returned, or take 1. When shots fail the others are finished first,
    then `FilmIncomplete` names the failed ones.

    Args:
        storyboard: The film's storyboard (YAML or JSON), or where it is: a link, or a path in the
            archive such as boards/film.yaml.
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block with the bucket for clips and the ledger. Empty means the block named
            default.
        scene: Number of the scene, counted from 1.
        spending: How much the film may cost, other scenes included, and above what price a person
            is asked.
    """
    film = await plan_with_picks(await prepare_storyboard(storyboard, archive), archive)
    if not 1 <= scene <= len(film.scenes):
        raise StoryboardInvalid(f"there is no scene {scene}: {film.title} has {len(film.scenes)}")
    quote = await authorize_film(film.only(scene), credentials, archive, spending)

    planned = film.scenes[scene - 1]
    page = FilmPage(quote, archive, f"{film.slug}-scene-{scene}")
    resources = RunResources(credentials, archive, on_progress=page.show)
    options = spending.options_of(film)
    async with page.kept_current():
        clips = await make_scene(planned, resources, options)
    await page.show_clips(clips)
    return [clips[each.clip_key] for each in planned.clips if each.is_used]


async def make_scene(
    scene: PlannedScene, resources: RunResources, options: SubmitOptions
) -> dict[str, Clip]:
    """Make a planned scene inside a flow and return its clips by key; see `produce_scene`."""
    leases: dict[str, Lease] = {}
    making: dict[str, asyncio.Task[Clip]] = {}
    for planned in scene.clips:
        waiting = ShotProgress(shot=planned.name, stage=Stage.WAITING, usd=planned.price.usd)
        resources.progress.publish(waiting)
        key = planned.clip_key
        if key in making:
            # Shots that are alike share one clip.
            continue

        other = resources.clips_in_work.get(key)
        if other is not None:
            # So do those of other scenes and films of the run, whose task runs are there.
            leases[key] = other.lease
            work = _follow(other.task, planned.name, resources)
            making[key] = asyncio.create_task(work, name=planned.name)
            continue

        lease = resources.limiter.lease(scene.priorities[key])
        source = None
        if planned.needs is not None:
            source = making[planned.needs.clip_key]
            leases[planned.needs.clip_key].dependents.append(lease)
        make = make_clip
        if resources.retake_suspect and key in resources.retakable:
            make = make_best_take
        work = _make_shot(planned, source, lease, resources, options, make)
        leases[key] = lease
        making[key] = asyncio.create_task(work, name=planned.name)
        resources.clips_in_work.add(key, making[key], lease)

    results = await asyncio.gather(*making.values(), return_exceptions=True)
    return _clips_or_raise(scene, dict(zip(making, results, strict=True)))


class _SourceNotMade(Exception):
    """The clip that a shot is made from was not made."""


async def _make_shot(
    planned: PlannedClip,
    source: "asyncio.Task[Clip] | None",
    lease: Lease,
    resources: RunResources,
    options: SubmitOptions,
    make: Callable[..., Awaitable[Clip]],
) -> Clip:
    """Make one clip of a scene, if need be after its source. The lease is released in any case."""
    try:
        if planned.needs is not None and source is not None:
            await _hand_over(source, planned.needs, planned.name, resources)
        return await make(planned.order, resources, options, planned.name, lease)
    finally:
        lease.release()


async def _follow(other: "asyncio.Task[Clip]", name: str, resources: RunResources) -> Clip:
    """Wait for an equal clip that another scene of the run makes, and return it.

    Raises what stops it there.
    """
    detail = f"the same clip as {other.get_name()}"
    resources.progress.publish(ShotProgress(shot=name, stage=Stage.WAITING, detail=detail))
    await asyncio.wait([other])
    try:
        clip = other.result()
    except _SourceNotMade:
        raise
    except Exception as error:
        failed = ShotProgress.of_error(name, error, before=f"{detail}: ")
        resources.progress.publish(failed)
        raise
    done = ShotProgress(
        shot=name, stage=Stage.DONE, usd=clip.usd, clip=clip, reused=True, detail=detail
    )
    resources.progress.publish(done)
    return clip


async def _hand_over(
    source: "asyncio.Task[Clip]", handover: Handover, name: str, resources: RunResources
) -> None:
    """Wait for the source and store what the shot needs of it. Raises `_SourceNotMade`."""
    source_name = source.get_name()
    await asyncio.wait([source])
    if source.cancelled() or source.exception() is not None:
        resources.progress.publish(
            ShotProgress(shot=name, stage=Stage.WAITING, detail=f"{source_name} was not made")
        )
        raise _SourceNotMade(name)
    await hand_over_clip(source.result(), handover, resources.archive, f"{source_name} to {name}")


def _clips_or_raise(
    scene: PlannedScene, results: Mapping[str, Clip | BaseException]
) -> dict[str, Clip]:
    """Return the clips; raise `FilmIncomplete` with the shots that stopped the scene."""
    names = {planned.clip_key: planned.name for planned in reversed(scene.clips)}
    clips: dict[str, Clip] = {}
    failures: dict[str, BaseException] = {}
    not_begun: list[str] = []
    for key, result in results.items():
        if isinstance(result, _SourceNotMade):
            not_begun.append(names[key])
        elif isinstance(result, BaseException):
            failures[names[key]] = result
        else:
            clips[key] = result
    if len(clips) == len(results):
        return clips

    also = ""
    if not_begun:
        also = f" ({', '.join(not_begun)} could not begin without)"
    message = f"{len(failures)} of {len(results)} clips of {scene.name} failed{also}:"
    raise FilmIncomplete(message, failures)
