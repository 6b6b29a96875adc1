"""Automations worth having, as code: who is told when a clip or the money needs somebody."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.events.actions import RunDeployment, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from prefect_kling.blocks.load import BlockMissing

# Alarms are told by whoever meets them, every ten minutes perhaps: a message about one clip is sent once a day.
REMINDED = timedelta(days=1)
ADVANCE = "kling: a clip has landed"
# A run that meets another one is cancelled: the other will see this clip, too, unless it has just looked for the last
# time. So the run comes a little later, when that one has ended.
ADVANCE_AFTER = timedelta(seconds=10)
_CLIP = "{{ event.payload.prompt }}\nClip {{ event.resource.name }}"
_JOB = "{% if event.payload.job_id %}, job {{ event.payload.job_id }}{% endif %}"
_COST = "{% if event.payload.at_most_usd %}, at most ${{ event.payload.at_most_usd }}{% endif %}"
_SHOW = "prefect-kling ledger show {{ event.resource.name }}"


@dataclass(frozen=True)
class Message:
    """What is sent about an event of some resource, as templates that Prefect fills in."""

    event: str
    resource: str
    subject: str
    body: str


TOLD = {
    "kling: a clip is held": Message(
        "kling.clip.held",
        "kling.clip.*",
        "Kling: a clip is held, it may have been paid for",
        f"{_CLIP}{_JOB}{_COST}\n{{{{ event.payload.why }}}}\n"
        f"It is never sent again by itself. To see it and decide: {_SHOW}",
    ),
    "kling: a paid video is about to expire": Message(
        "kling.clip.expiring",
        "kling.clip.*",
        "Kling: a paid video is about to be deleted",
        f"{_CLIP}{_JOB}\n{{{{ event.payload.why }}}}\nEvery sweep tries again until then. To see it: {_SHOW}",
    ),
    "kling: a paid video is gone": Message(
        "kling.clip.gone",
        "kling.clip.*",
        "Kling: the API does not know a paid job any more",
        f"{_CLIP}{_JOB}{_COST}\n{{{{ event.payload.why }}}}\nTo see it: {_SHOW}",
    ),
    "kling: the budget is nearly spent": Message(
        "kling.budget.low",
        "kling.budget.*",
        "Kling: the budget of {{ event.resource.name }} is nearly spent",
        "${{ event.payload.committed_usd }} of ${{ event.payload.cap_usd }} are spent or set aside.\n"
        "What does not fit is refused before it is sent: raise the cap, or wait until running clips are settled.",
    ),
}


def _on(event: str, resource: str, within: timedelta = timedelta(0)) -> EventTrigger:
    return EventTrigger(
        expect={event},
        match={"prefect.resource.id": resource},
        posture=Posture.Reactive,
        threshold=1,
        within=within,
        for_each={"prefect.resource.id"},
    )


def telling(notify: UUID) -> list[Automation]:
    """Return automations that send a message through a notification block for every alarm of this package."""
    return [
        Automation(
            name=name,
            description=f"sends a message on {told.event}, once a day for each clip or budget",
            trigger=_on(told.event, told.resource, REMINDED),
            actions=[
                SendNotification(block_document_id=notify, subject=told.subject, body=told.body)
            ],
        )
        for name, told in TOLD.items()
    ]


def advancing(deployment: UUID) -> Automation:
    """Return the automation that takes pending films on whenever a clip has landed."""
    run = RunDeployment(
        source="selected", deployment_id=deployment, parameters={}, schedule_after=ADVANCE_AFTER
    )
    trigger = _on("kling.job.completed", "kling.clip.*")
    return Automation(
        name=ADVANCE, description="runs advance-films", trigger=trigger, actions=[run]
    )


async def put_in_place(wanted: list[Automation]) -> list[str]:
    """Create automations that do not exist yet, by name, and return the names of those made. Safe to repeat."""
    made = []
    for automation in wanted:
        try:
            await Automation.aread(name=automation.name)
        except (ValueError, ObjectNotFound):
            await automation.acreate()
            made.append(automation.name)
    return made


async def _id_of(deployment: str) -> UUID | None:
    """Return the id of a deployment, None when it is not deployed."""
    async with get_client() as api:
        try:
            return (await api.read_deployment_by_name(deployment)).id
        except ObjectNotFound:
            return None


def automations(*, notify: str | None = None) -> None:
    """Create the automations of this package that do not exist yet: messages about alarms, and films that go on.

    Args:
        notify: A stored notification block as type/name, such as slack-webhook/alerts; without one nobody is told.
    """
    print("\n".join(asyncio.run(_create(notify))))


async def _create(notify: str | None) -> list[str]:
    wanted = telling(await _block_id(notify)) if notify else []
    deployment = await _id_of("advance-films/advance-films")
    if deployment is not None:
        wanted.append(advancing(deployment))
    made = await put_in_place(wanted)
    lines = [
        f"{'created' if each.name in made else 'left as it is'}: {each.name}" for each in wanted
    ]
    if deployment is None:
        lines.append(f"left out, advance-films is not deployed: {ADVANCE}")
    return lines


async def _block_id(reference: str) -> UUID:
    kind, _, name = reference.partition("/")
    async with get_client() as api:
        try:
            return (await api.read_block_document_by_name(name, kind)).id
        except ObjectNotFound:
            raise BlockMissing(
                f"there is no notification block {reference!r}; name it as type/name"
            ) from None
