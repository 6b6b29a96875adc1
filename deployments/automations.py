"""Automations worth having, as code: who is told when a clip or the money needs somebody."""

import asyncio
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.events.actions import ActionTypes, RunDeployment, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from prefect_kling.blocks.load import BlockMissing

SUBJECT = "prefect-kling: {{ event.event }}"
BODY = "{{ event.resource.name }}\n{{ event.payload }}"
TOLD = {
    "kling: a clip is held": ("kling.clip.held", "kling.clip.*"),
    "kling: a paid video is about to expire": ("kling.clip.expiring", "kling.clip.*"),
    "kling: the budget is nearly spent": ("kling.budget.low", "kling.budget.*"),
}
ADVANCE = "kling: a clip has landed"


def _on(event: str, resource: str) -> EventTrigger:
    return EventTrigger(expect={event}, match={"prefect.resource.id": resource}, posture=Posture.Reactive, threshold=1)


def telling(notify: UUID) -> list[Automation]:
    """Return automations that send a message through a notification block for every alarm of this package."""
    send: list[ActionTypes] = [SendNotification(block_document_id=notify, subject=SUBJECT, body=BODY)]
    return [
        Automation(name=name, description=f"sends a message on {event}", trigger=_on(event, resource), actions=send)
        for name, (event, resource) in TOLD.items()
    ]


def advancing(deployment: UUID) -> Automation:
    """Return the automation that takes pending films on whenever a clip has landed."""
    run: list[ActionTypes] = [RunDeployment(source="selected", deployment_id=deployment, parameters={})]
    trigger = _on("kling.job.completed", "kling.clip.*")
    return Automation(name=ADVANCE, description="runs advance-films", trigger=trigger, actions=run)


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
    for name in asyncio.run(_create(notify)) or ["nothing: they are there already"]:
        print(f"created {name}")


async def _create(notify: str | None) -> list[str]:
    wanted = telling(await _block_id(notify)) if notify else []
    deployment = await _id_of("advance-films/advance-films")
    if deployment is not None:
        wanted.append(advancing(deployment))
    return await put_in_place(wanted)


async def _block_id(reference: str) -> UUID:
    kind, _, name = reference.partition("/")
    async with get_client() as api:
        try:
            return (await api.read_block_document_by_name(name, kind)).id
        except ObjectNotFound:
            raise BlockMissing(f"there is no notification block {reference!r}; name it as type/name") from None
