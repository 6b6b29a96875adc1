"""Send a film and leave: nothing waits while it renders, and a later run completes it."""

import asyncio
from dataclasses import dataclass, field, replace

from prefect import flow

from prefect_kling.flows.film import join_film
from prefect_kling.flows.form_fields import Account, ArchiveBlock, Limits, StoryboardText
from prefect_kling.kling.error_details import in_words
from prefect_kling.kling.errors import KlingError, Unavailable
from prefect_kling.kling.server_words import words
from prefect_kling.runs.authorization import authorize_film
from prefect_kling.runs.batch_work import complete_and_tell
from prefect_kling.runs.failures import LONGEST_WHY, fails_in_words
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named, named_after_film
from prefect_kling.runs.picks import plan_with_picks
from prefect_kling.runs.resources import RunResources
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.pending import PendingFilm, pending_names, read_pending
from prefect_kling.studio.film.plan import FilmPlan, PlannedClip
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.submission import SubmitOptions
from prefect_kling.studio.storage.concurrency import in_thread
from prefect_kling.tasks import (
    hand_over_clip,
    prepare_storyboard,
    submit_video,
)
from prefect_kling.telemetry.events import announce_stopped_film
from prefect_kling.telemetry.film_page import write_film_page
from prefect_kling.telemetry.logs import run_logger

# How long to wait for an API that is full. What is not sent by then is sent by the next step.
BUSY_SECONDS = 60.0
CLIPS_AT_ONCE = 32


@dataclass
class Step:
    """What one step of a film found and did, by clip name.

    `sent` includes clips whose jobs were under way already.
    """

    title: str
    archived: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    film: Film | None = None

    def __str__(self) -> str:
        if self.film is not None:
            return f"{self.title}: complete, {self.film.uri}"
        counts = (
            f"{len(self.archived)} archived, {len(self.sent)} under way,"
            f" {len(self.waiting)} waiting"
        )
        stopped = [f"; {name} is stopped: {why}" for name, why in self.stopped.items()]
        return f"{self.title}: {counts}{''.join(stopped)}"


@flow(
    flow_run_name=named_after_film("send {title}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_in_words("film")
async def submit_film(
    storyboard: StoryboardText,
    credentials: Account,
    archive: ArchiveBlock,
    spending: Limits = Spending(),
) -> Step:
    """Send every clip of a film that can be sent now, and end.

    **Costs the sum of the shots that are not archived yet**, chained ones later, each once. The
    film is written down as pending; `advance_films`, on a schedule and started by clips that land,
    sends what has become possible and joins the film at the end. Sending the same film again
    changes nothing. Of a shot with several takes all are made; a shot without a pick has take 1.

    Args:
        storyboard: A storyboard (YAML or JSON), or where one is: a link, or a path in the archive
            such as boards/film.yaml. Pictures and videos it names may lie beside it. The box grows
            when its corner is pulled.
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block with the bucket for clips, films and the ledger. Empty means the block
            named default.
        spending: How much the film may cost, and above what price a person is asked. What it says
            about lost answers holds for this run; runs of advance-films hold such clips.
    """
    prepared = await prepare_storyboard(storyboard, archive)
    plan = await plan_with_picks(prepared, archive)
    await authorize_film(plan, credentials, archive, spending)

    # Written down before anything is sent: a run that dies while it sends leaves a film that others
    # complete.
    pending = PendingFilm(storyboard=prepared, budget_usd=spending.budget_usd, tags=spending.tags)
    await in_thread(pending.keep, archive.get_archive())

    resources = RunResources(credentials, archive)
    options = replace(spending.options_of(plan), busy=BUSY_SECONDS)
    return await _advance(pending, plan, resources, options)


@flow(
    flow_run_name=named("films and batches on their way {now}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
@fails_in_words("sweep")
async def advance_films(credentials: Account, archive: ArchiveBlock) -> list[Step]:
    """Advance every pending film, again and again until there is nothing left to do now.

    Batches that were sent and left are completed, too, when their last clip has landed.

    **Pays for the clips it sends**, within each film's budget; nothing for a film whose clips are
    all there. Waits for no job. Safe to repeat and to run twice at once.

    Args:
        credentials: The block with the key of the Kling API. Empty means the block named default.
        archive: The block of the archive whose films wait. Empty means the block named default.
    """
    resources = RunResources(credentials, archive)
    completed: list[Step] = []
    unfinished: list[Step] = []
    while True:
        previous = unfinished
        unfinished = []
        for name in await in_thread(_list_pending, archive.get_archive()):
            step = await _advance_pending(name, resources)
            if step is None:
                continue
            if step.film is None:
                unfinished.append(step)
            else:
                completed.append(step)
        # A clip may have landed while another film was advanced: go on until nothing changes.
        if unfinished == previous:
            break

    counts = (len(completed), len(unfinished))
    run_logger().info("%d films are complete, %d are pending", *counts)
    await complete_and_tell(archive.get_archive())
    return completed + unfinished


def _list_pending(archive: Archive) -> list[str]:
    return list(pending_names(archive))


async def _advance_pending(name: str, resources: RunResources) -> Step | None:
    """Advance one film; None if it is completed by now.

    An error that stops it, whatever it is, is noted in its step, and other films go on.
    """
    title = name
    try:
        pending = await in_thread(read_pending, name, resources.archive.get_archive())
        if pending is None:
            return None
        title = pending.storyboard.title
        plan = await plan_with_picks(pending.storyboard, resources.archive)
        spending = Spending(budget_usd=pending.budget_usd, tags=pending.tags)
        options = replace(spending.options_of(plan), busy=BUSY_SECONDS)
        return await _advance(pending, plan, resources, options)
    except Exception as error:
        run_logger().error("%s: %s", title, in_words(error))
        announce_stopped_film(name, title, words(in_words(error), LONGEST_WHY))
        return Step(title, stopped={"film": in_words(error)})


async def _advance(
    pending: PendingFilm, plan: FilmPlan, resources: RunResources, options: SubmitOptions
) -> Step:
    """Send every clip whose inputs are archived, or join the film if all its clips are.

    **Pays for the clips it sends, each once ever**, within the film's budget. Safe to repeat, and
    beside other runs. A clip that fails stops only what is made from it, and is noted in the step.
    """
    step = Step(pending.storyboard.title)
    archive = resources.archive.get_archive()
    clips = await _find_clips(plan, archive)
    if len(clips) == len(plan.by_key):
        if plan.open_picks:
            run_logger().warning("%s: %s", plan.title, plan.told_of_open_picks)
        step.film = await join_film(plan, clips, resources.archive)
        await in_thread(pending.drop, archive)
        await write_film_page(step.film, resources.archive, plan.told_of_open_picks)
        return step

    ready: list[PlannedClip] = []
    for planned in plan.by_key.values():
        if planned.clip_key in clips:
            step.archived.append(planned.name)
        elif planned.needs is not None and planned.needs.clip_key not in clips:
            step.waiting.append(planned.name)
        else:
            ready.append(planned)

    sending = asyncio.Semaphore(CLIPS_AT_ONCE)

    async def send(planned: PlannedClip) -> None:
        async with sending:
            if planned.needs is not None:
                source = plan.by_key[planned.needs.clip_key]
                label = f"{source.name} to {planned.name}"
                await hand_over_clip(
                    clips[source.clip_key], planned.needs, resources.archive, label
                )
            await submit_video(
                planned.order, resources.credentials, resources.archive, planned.name, options
            )

    results = await asyncio.gather(*map(send, ready), return_exceptions=True)
    for planned, error in zip(ready, results, strict=True):
        if error is None:
            step.sent.append(planned.name)
        elif isinstance(error, Unavailable):
            step.waiting.append(planned.name)
        elif isinstance(error, KlingError | StudioError):
            step.stopped[planned.name] = str(error)
        else:
            raise error
    run_logger().info("%s", step)
    if step.stopped:
        why = "; ".join(f"{name}: {trouble}" for name, trouble in step.stopped.items())
        announce_stopped_film(plan.slug, step.title, words(why, LONGEST_WHY))
    return step


async def _find_clips(plan: FilmPlan, archive: Archive) -> dict[str, Clip]:
    """Return the clips of a film that are archived, by key."""
    found = await asyncio.gather(*(in_thread(archive.find, key) for key in plan.by_key))
    return {clip.clip_key: clip for clip in found if clip is not None}
