"""Automations as code: messages about alarms, and films that continue when a clip is finished."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.events.actions import RunDeployment, SendNotification
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from prefect_kling.blocks.load import BlockMissing
from prefect_kling.deployments.cli.terminal import say

# Every run and sweep that meets a problem emits its event, every ten minutes perhaps. A message
# about one clip or budget is sent once in this time.
MESSAGE_INTERVAL = timedelta(days=1)
ADVANCE_NAME = "kling: a clip has landed"
ADVANCE_DEPLOYMENT = "advance-films/advance-films"
# One run for all clips that land within this time: the first of them starts it.
ADVANCE_WINDOW = timedelta(seconds=10)
# It begins when the time is over, and so finds them all. A run that meets another one is cancelled;
# the other will see these clips as well, unless it has just looked for the last time.
ADVANCE_DELAY = timedelta(seconds=15)

_CLIP = "{{ event.payload.prompt }}\nClip {{ event.resource.name }}"
_JOB = "{% if event.payload.job_id %}, job {{ event.payload.job_id }}{% endif %}"
_COST = "{% if event.payload.at_most_usd %}, at most ${{ event.payload.at_most_usd }}{% endif %}"
_WHY = "{{ event.payload.why }}"
_SHOW = "prefect-kling ledger show {{ event.resource.name }}"


@dataclass(frozen=True)
class AlarmMessage:
    """The message about an event of some resource, as templates that Prefect fills in."""

    event: str
    resource: str
    subject: str
    body: str


ALARM_MESSAGES = {
    "kling: a clip is held": AlarmMessage(
        event="kling.clip.held",
        resource="kling.clip.*",
        subject="Kling: a clip is held, it may have been paid for",
        body=(
            f"{_CLIP}{_JOB}{_COST}\n{_WHY}\n"
            f"It is never sent again by itself. To see it and decide: {_SHOW}"
        ),
    ),
    "kling: a paid video is about to expire": AlarmMessage(
        event="kling.clip.expiring",
        resource="kling.clip.*",
        subject="Kling: a paid video is about to be deleted",
        body=(f"{_CLIP}{_JOB}\n{_WHY}\nEvery sweep tries again until then. To see it: {_SHOW}"),
    ),
    "kling: a clip has been open for long": AlarmMessage(
        event="kling.clip.overdue",
        resource="kling.clip.*",
        subject="Kling: a clip was sent long ago and is not finished",
        body=f"{_CLIP}{_JOB}{_COST}\n{_WHY}\nTo see it: {_SHOW}",
    ),
    "kling: a paid video cannot be verified": AlarmMessage(
        event="kling.clip.quarantined",
        resource="kling.clip.*",
        subject="Kling: a paid video cannot be verified, its raw file is kept",
        body=(
            f"{_CLIP}{_JOB}{_COST}\n{_WHY}\n"
            "To see all such files: prefect-kling ledger quarantine list"
        ),
    ),
    "kling: a paid video is gone": AlarmMessage(
        event="kling.clip.gone",
        resource="kling.clip.*",
        subject="Kling: the API does not know a paid job any more",
        body=f"{_CLIP}{_JOB}{_COST}\n{_WHY}\nTo see it: {_SHOW}",
    ),
    "kling: a clip looks wrong": AlarmMessage(
        event="kling.clip.suspect",
        resource="kling.clip.*",
        subject="Kling: a clip looks wrong: {{ event.payload.rules }}",
        body=(
            f"{_CLIP}{_JOB}\n{_WHY}\n{{{{ event.payload.uri }}}}\n"
            "It is kept and paid; another take of it is made and paid only if somebody asks."
        ),
    ),
    "kling: the budget is nearly spent": AlarmMessage(
        event="kling.budget.low",
        resource="kling.budget.*",
        subject="Kling: the budget of {{ event.resource.name }} is nearly spent",
        body=(
            "${{ event.payload.committed_usd }} of ${{ event.payload.cap_usd }} "
            "are spent or set aside.\n"
            "What does not fit is refused before it is sent: raise the cap, or wait until "
            "running clips are settled."
        ),
    ),
}


def message_automations(notification_block: UUID) -> list[Automation]:
    """Return automations that send a message through a notification block for every alarm."""
    automations = []
    for name, message in ALARM_MESSAGES.items():
        action = SendNotification(
            block_document_id=notification_block, subject=message.subject, body=message.body
        )
        automation = Automation(
            name=name,
            description=f"sends a message on {message.event}, once a day for each clip or budget",
            trigger=_on(message.event, message.resource, within=MESSAGE_INTERVAL),
            actions=[action],
        )
        automations.append(automation)
    return automations


def advance_automation(deployment: UUID, window: timedelta = ADVANCE_WINDOW) -> Automation:
    """Return the automation that continues films and batches when clips are finished."""
    run = RunDeployment(
        source="selected", deployment_id=deployment, parameters={}, schedule_after=ADVANCE_DELAY
    )
    return Automation(
        name=ADVANCE_NAME,
        description="runs advance-films, once for all clips that land within ten seconds",
        trigger=_on("kling.job.completed", "kling.clip.*", within=window, for_each=()),
        actions=[run],
    )


def _on(
    event: str,
    resource: str,
    within: timedelta,
    for_each: Collection[str] = ("prefect.resource.id",),
) -> EventTrigger:
    return EventTrigger(
        expect={event},
        match={"prefect.resource.id": resource},
        posture=Posture.Reactive,
        threshold=1,
        within=within,
        for_each=set(for_each),
    )


async def create_missing(wanted: list[Automation]) -> list[str]:
    """Create the automations that do not exist yet, and return the names of those created.

    An automation of the same name is left as it is, so calling this twice is safe.
    """
    created = []
    for automation in wanted:
        try:
            await Automation.aread(name=automation.name)
        except (ValueError, ObjectNotFound):
            await automation.acreate()
            created.append(automation.name)
    return created


def automations(*, notify: str | None = None) -> None:
    """Create the automations of this package that do not exist yet.

    They send messages about alarms, and continue films when a clip is finished.

    Args:
        notify: A stored notification block as type/name, such as slack-webhook/alerts; without
            one nobody is told.
    """
    for line in asyncio.run(_create(notify)):
        say(line)


async def _create(notify: str | None) -> list[str]:
    """Create what is missing, and return a line about each automation."""
    wanted = []
    if notify:
        wanted.extend(message_automations(await _block_id(notify)))
    deployment = await _deployment_id(ADVANCE_DEPLOYMENT)
    if deployment is not None:
        wanted.append(advance_automation(deployment))

    created = await create_missing(wanted)
    lines = []
    for automation in wanted:
        if automation.name in created:
            lines.append(f"created: {automation.name}")
        else:
            lines.append(f"left as it is: {automation.name}")
    if deployment is None:
        lines.append(f"left out, advance-films is not deployed: {ADVANCE_NAME}")
    return lines


async def _deployment_id(name: str) -> UUID | None:
    async with get_client() as client:
        try:
            deployment = await client.read_deployment_by_name(name)
        except ObjectNotFound:
            return None
    return deployment.id


async def _block_id(reference: str) -> UUID:
    slug, _, name = reference.partition("/")
    async with get_client() as client:
        try:
            document = await client.read_block_document_by_name(name, slug)
        except ObjectNotFound:
            raise BlockMissing(
                f"there is no notification block {reference!r}; name it as type/name"
            ) from None
    return document.id
