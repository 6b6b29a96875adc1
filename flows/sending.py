"""One step of a film that nobody waits for: send what can be sent, join it when all of it is there."""

import asyncio
from dataclasses import dataclass, field

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.film import join_film
from prefect_kling.kling.errors import KlingError, Unavailable
from prefect_kling.runs.job_limiter import Slots
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.pending import PendingFilm
from prefect_kling.studio.film.plan import FilmPlan, PlannedClip
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.money.submission import Terms
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.tasks import hand_over_clip, submit_video
from prefect_kling.telemetry.logs import run_logger

BUSY_SECONDS = 60.0
"""How long to queue for an API that is full; what did not get in is sent by the next step."""
AT_ONCE = 32


@dataclass
class Step:
    """What one step found and did, by clip name: `sent` includes clips that were under way already."""

    title: str
    archived: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    stopped: dict[str, str] = field(default_factory=dict)
    film: Film | None = None

    def __str__(self) -> str:
        if self.film is not None:
            return f"{self.title}: complete, {self.film.uri}"
        parts = [
            f"{len(self.archived)} archived",
            f"{len(self.sent)} under way",
            f"{len(self.waiting)} waiting",
        ]
        stopped = [f"{name} is stopped: {why}" for name, why in self.stopped.items()]
        return f"{self.title}: {', '.join(parts)}{''.join(f'; {each}' for each in stopped)}"


async def advance(
    pending: PendingFilm, credentials: KlingCredentials, archive: KlingArchive
) -> Step:
    """Send every clip whose inputs are there, and join the film when all clips are. Inside a flow.

    **Pays for the clips it sends, each once ever**, within the film's budget. Safe to repeat, and beside other runs.
    One clip's trouble stops only what is made from it, and is told in the step.
    """
    plan, step = plan_film(pending.storyboard), Step(pending.storyboard.title)
    studio = archive.get_archive()
    found = await asyncio.gather(*(in_thread(studio.find, key) for key in plan.by_key))
    clips = {key: clip for key, clip in zip(plan.by_key, found, strict=True) if clip is not None}
    if len(clips) == len(plan.by_key):
        step.film = await join_film(plan, clips, archive)
        await in_thread(pending.drop, studio)
        return step
    terms = Terms(FilmCap(plan.slug, pending.budget_usd), busy=BUSY_SECONDS)
    sender = _Sender(plan, clips, step, credentials, archive, terms)
    await asyncio.gather(*(sender.visit(planned) for planned in plan.by_key.values()))
    run_logger().info("%s", step)
    return step


@dataclass(frozen=True)
class _Sender:
    plan: FilmPlan
    clips: dict[str, Clip]
    step: Step
    credentials: KlingCredentials
    archive: KlingArchive
    terms: Terms
    places: Slots = field(default_factory=lambda: Slots(AT_ONCE))

    async def visit(self, planned: PlannedClip) -> None:
        """Do for one clip what can be done now, and note it."""
        if planned.clip_key in self.clips:
            self.step.archived.append(planned.name)
            return
        if planned.needs is not None and planned.needs.clip_key not in self.clips:
            self.step.waiting.append(planned.name)
            return
        try:
            async with self.places.one(0.0):
                await self._send(planned)
            self.step.sent.append(planned.name)
        except Unavailable:
            self.step.waiting.append(planned.name)
        except (KlingError, StudioError) as error:
            self.step.stopped[planned.name] = str(error)

    async def _send(self, planned: PlannedClip) -> None:
        if planned.needs is not None:
            leader = self.plan.by_key[planned.needs.clip_key]
            label = f"{leader.name} to {planned.name}"
            await hand_over_clip(self.clips[leader.clip_key], planned.needs, self.archive, label)
        await submit_video(planned.order, self.credentials, self.archive, planned.name, self.terms)
