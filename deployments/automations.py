"""Automations as code: messages about alarms, and films that continue when a clip is finished."""

import asyncio
import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.responses import DeploymentResponse
from prefect.events.actions import RunDeployment, SendNotification
from prefect.events.schemas.automations import Automation as StoredAutomation
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.utilities.urls import url_for

from prefect_kling.blocks.load import BlockMissing
from prefect_kling.deployments.catalogue import import_flow, our_deployments, read_deployments
from prefect_kling.deployments.cli.documents import AutomationKept, AutomationsKept
from prefect_kling.deployments.cli.terminal import AsJson, print_json, say

# Every run and sweep that meets a problem emits its event, every ten minutes perhaps. A message
# about one clip, run or budget is sent once in this time.
MESSAGE_INTERVAL = timedelta(days=1)
ADVANCE_NAME = "kling: a clip has landed"
ADVANCE_DEPLOYMENT = "advance-films/advance-films"
SWEEP_DEPLOYMENT = "collect-finished/collect-finished"
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
_LINK = "{% if event.payload.url %}\n{{ event.payload.url }}{% endif %}"
# Where Prefect itself tells of a run, its server knows the link.
_RUN_LINK = "{% if flow_run|ui_url %}\n{{ flow_run|ui_url }}{% endif %}"


@dataclass(frozen=True)
class AlarmMessage:
    """The message about events of some resource, as templates that Prefect fills in."""

    events: tuple[str, ...]
    resource: str
    subject: str
    body: str
    labels: Mapping[str, str] = field(default_factory=dict)
    """What else the resource must say."""
    of_our_flows: bool = False
    """Whether the events are Prefect's, about runs of any flow, and only ours are meant."""


ALARM_MESSAGES = {
    "kling: a clip is held": AlarmMessage(
        events=("kling.clip.held",),
        resource="kling.clip.*",
        subject="Kling: a clip is held, it may have been paid for",
        body=(
            f"{_CLIP}{_JOB}{_COST}\n{_WHY}\n"
            f"It is never sent again by itself. To see it and decide: {_SHOW}{_LINK}"
        ),
    ),
    "kling: a paid video is about to expire": AlarmMessage(
        events=("kling.clip.expiring",),
        resource="kling.clip.*",
        subject="Kling: a paid video is about to be deleted",
        body=(
            f"{_CLIP}{_JOB}{_COST}\n{_WHY}\n"
            f"Every sweep tries again until then. To see it: {_SHOW}{_LINK}"
        ),
    ),
    "kling: a clip has been open for long": AlarmMessage(
        events=("kling.clip.overdue",),
        resource="kling.clip.*",
        subject="Kling: a clip was sent long ago and is not finished",
        body=f"{_CLIP}{_JOB}{_COST}\n{_WHY}\nTo see it: {_SHOW}{_LINK}",
    ),
    "kling: a paid video cannot be verified": AlarmMessage(
        events=("kling.clip.quarantined",),
        resource="kling.clip.*",
        subject="Kling: a paid video cannot be verified, its raw file is kept",
        body=(
            f"{_CLIP}{_JOB}{_COST}\n{_WHY}\n"
            f"To see all such files: prefect-kling ledger quarantine list{_LINK}"
        ),
    ),
    "kling: a paid video is gone": AlarmMessage(
        events=("kling.clip.gone",),
        resource="kling.clip.*",
        subject="Kling: the API does not know a paid job any more",
        body=f"{_CLIP}{_JOB}{_COST}\n{_WHY}\nTo see it: {_SHOW}{_LINK}",
    ),
    "kling: a clip looks wrong": AlarmMessage(
        events=("kling.clip.suspect",),
        resource="kling.clip.*",
        subject="Kling: a clip looks wrong: {{ event.payload.rules }}",
        body=(
            f"{_CLIP}{_JOB}, ${{{{ event.payload.usd }}}}\n{_WHY}\n{{{{ event.payload.uri }}}}\n"
            "It is kept and paid; another take of it is made and paid only if somebody asks."
            f"{_LINK}"
        ),
    ),
    "kling: the budget is nearly spent": AlarmMessage(
        events=("kling.budget.low",),
        resource="kling.budget.*",
        subject="Kling: the budget of {{ event.resource.name }} is nearly spent",
        body=(
            "${{ event.payload.committed_usd }} of ${{ event.payload.cap_usd }} "
            "are spent or set aside.\n"
            "What does not fit is refused before it is sent: raise the cap, or wait until "
            f"running clips are settled.{_LINK}"
        ),
    ),
    "kling: somebody must approve": AlarmMessage(
        events=("kling.approval.wanted",),
        resource="kling.run.*",
        subject="Kling: {{ event.resource.name }} waits for your approval",
        body=(
            "{{ event.resource.name }} may cost ${{ event.payload.at_most_usd }}, and above "
            "${{ event.payload.limit_usd }} somebody must approve.\n"
            "Open the run, look at its quote under Artifacts, and press Resume. Without an answer "
            f"until {{{{ event.payload.until }}}} it fails and nothing is paid.{_LINK}"
        ),
    ),
    "kling: somebody must pick takes": AlarmMessage(
        events=("kling.picks.wanted",),
        resource="kling.run.*",
        subject="Kling: {{ event.resource.name }} waits for takes to be picked",
        body=(
            "{{ event.resource.name }} has made takes of {{ event.payload.shots }} shots, one of "
            "each is to be picked.\n"
            "Open the run, look at the takes under Artifacts, and press Resume. Without an answer "
            f"until {{{{ event.payload.until }}}} it fails; what is made is kept.{_LINK}"
        ),
    ),
    "kling: a film, batch or clip has failed": AlarmMessage(
        events=(
            "kling.film.failed",
            "kling.batch.failed",
            "kling.clip.failed",
            "kling.sweep.failed",
            "kling.report.failed",
        ),
        resource="kling.*",
        subject="Kling: {{ event.resource.name }} has failed",
        body=(
            f"{_WHY}\n"
            "{% if event.payload.made %}Clips it has made: {{ event.payload.made }}"
            "{% if event.payload.paid_usd %}, paid ${{ event.payload.paid_usd }}{% endif %}\n"
            "{% endif %}"
            "{% if event.payload.failed %}Not made: {{ event.payload.failed }}\n{% endif %}"
            "{% if event.payload.results_uri %}"
            "Results: {{ event.payload.results_uri }}\n{% endif %}"
            f"What is archived costs nothing again.{_LINK}"
        ),
    ),
    "kling: a run has died": AlarmMessage(
        events=("prefect.flow-run.Crashed",),
        resource="prefect.flow-run.*",
        subject="Kling: the run {{ event.resource.name }} has died",
        body=(
            "{{ flow_run.state.message }}\n"
            "Nothing is lost: start it again, and it goes on with what it has paid for. Until "
            f"then every sweep archives what is finished.{_RUN_LINK}"
        ),
        of_our_flows=True,
    ),
    "kling: nobody has answered": AlarmMessage(
        events=("prefect.flow-run.Failed",),
        resource="prefect.flow-run.*",
        # Prefect's own words about a suspended run whose time is over.
        labels={"prefect.state-message": "The flow was paused and never resumed.*"},
        subject="Kling: nobody has approved {{ event.resource.name }} in time",
        body=(
            "The time to answer is over. Nothing was sent and nothing was paid; to be asked "
            f"again, start a new run.{_RUN_LINK}"
        ),
        of_our_flows=True,
    ),
}


@dataclass(frozen=True)
class SilenceMessage:
    """The message about something that has not been heard of for too long."""

    expected: tuple[str, ...]
    within: timedelta
    subject: str
    body: str
    resource: str
    after: tuple[str, ...] = ()
    """Only after one of these is anything expected, and one message is sent. Without them it is
    expected always, and a message is sent whenever the time is over."""
    names: tuple[str, ...] = ()
    """Only of resources of these names; of all unless given."""
    related: str = ""
    """What the events are related to."""


SWEEP_NAME = "kling: no sweep has been completed"
SWEEP_WITHIN = timedelta(hours=6)
WORKERS_NAME = "kling: no worker is left"
WORKERS_WITHIN = timedelta(minutes=10)
RECEIVER_NAME = "kling: the receiver is gone"
RECEIVER_WITHIN = timedelta(minutes=15)


def message_automations(
    notification_block: UUID, deployments: Sequence[DeploymentResponse] = ()
) -> list[Automation]:
    """Return automations that send a message through a notification block for every alarm.

    What can only be told of deployments (sweeps, workers) is among them for those that are given.
    """
    automations = []
    for name, message in ALARM_MESSAGES.items():
        automation = Automation(
            name=name,
            description=(
                f"sends a message on {', '.join(message.events)}, once a day for each clip, run "
                "or budget"
            ),
            trigger=_on_alarm(message),
            actions=[_message(notification_block, message.subject, message.body)],
        )
        automations.append(automation)
    for name, silence in silence_messages(deployments).items():
        automation = Automation(
            name=name,
            description=f"sends a message after {silence.within} without {silence.expected[0]}",
            trigger=_on_silence(silence),
            actions=[_message(notification_block, silence.subject, silence.body)],
        )
        automations.append(automation)
    return automations


def silence_messages(deployments: Sequence[DeploymentResponse]) -> dict[str, SilenceMessage]:
    """Return the messages about what is expected of these deployments and the receiver, by name."""
    messages = {
        RECEIVER_NAME: SilenceMessage(
            after=("kling.receiver.alive",),
            expected=("kling.receiver.alive", "kling.receiver.stopped"),
            within=RECEIVER_WITHIN,
            resource="kling.receiver.*",
            subject="Kling: the receiver {{ event.resource.name }} is gone",
            body=(
                "Nothing has been heard of it for "
                f"{RECEIVER_WITHIN // timedelta(minutes=1)} minutes, and it was not stopped. Runs "
                "find the ends of jobs by polling, up to half an hour late.\n"
                "Start it again: prefect-kling receiver"
            ),
        )
    }
    sweeps = [each for each in deployments if each.name == "collect-finished"]
    if sweeps:
        messages[SWEEP_NAME] = _about_sweeps(sweeps[0])
    watched = _about_workers(deployments)
    if watched is not None:
        messages[WORKERS_NAME] = watched
    return messages


def _about_sweeps(deployment: DeploymentResponse) -> SilenceMessage:
    hours = SWEEP_WITHIN // timedelta(hours=1)
    return SilenceMessage(
        expected=("prefect.flow-run.Completed",),
        within=SWEEP_WITHIN,
        resource="prefect.flow-run.*",
        related=f"prefect.deployment.{deployment.id}",
        subject=f"Kling: no sweep in {hours} hours",
        body=(
            "No run of collect-finished has been completed. Paid videos that no run waits for "
            "are deleted by the API after 7 days.\n"
            "See that its schedule is on (prefect-kling deploy --schedule collect-finished), that "
            f"a worker runs, and why runs fail.{_link('deployment', str(deployment.id))}"
        ),
    )


def _about_workers(deployments: Sequence[DeploymentResponse]) -> SilenceMessage | None:
    """Return the message about work pools without a worker, or about served deployments."""
    if not deployments:
        return None
    minutes = WORKERS_WITHIN // timedelta(minutes=1)
    waiting = "Runs wait, and nothing is swept."
    pools = sorted({each.work_pool_name for each in deployments if each.work_pool_name})
    if pools:
        return SilenceMessage(
            after=("prefect.work-pool.not-ready",),
            expected=("prefect.work-pool.ready",),
            within=WORKERS_WITHIN,
            resource="prefect.work-pool.*",
            names=tuple(pools),
            subject="Kling: the work pool {{ event.resource.name }} has no worker",
            body=(
                f"No worker has asked for work for {minutes} minutes. {waiting}\n"
                "Start one: prefect worker start --pool {{ event.resource.name }}"
                f"{_link('work-pool', pools[0])}"
            ),
        )
    first = deployments[0]
    return SilenceMessage(
        after=("prefect.deployment.not-ready",),
        expected=("prefect.deployment.ready",),
        within=WORKERS_WITHIN,
        resource=f"prefect.deployment.{first.id}",
        subject="Kling: nobody serves the deployments",
        body=(
            f"Nobody has asked for runs for {minutes} minutes. {waiting}\n"
            f"Start it: prefect-kling serve{_link('deployment', str(first.id))}"
        ),
    )


def _link(kind: str, name: str) -> str:
    """Return a line with the page of a deployment or a pool; nothing where no UI is known."""
    address = url_for(kind, obj_id=name)
    if not address:
        return ""
    return f"\n{address}"


def _on_silence(silence: SilenceMessage) -> EventTrigger:
    match: dict[str, Any] = {"prefect.resource.id": silence.resource}
    if silence.names:
        match["prefect.resource.name"] = list(silence.names)
    related = {}
    if silence.related:
        related = {"prefect.resource.id": silence.related}
    for_each = set()
    if silence.after:
        for_each = {"prefect.resource.id"}
    return EventTrigger(
        after=set(silence.after),
        expect=set(silence.expected),
        match=match,
        match_related=related,
        for_each=for_each,
        posture=Posture.Proactive,
        threshold=1,
        within=silence.within,
    )


def _on_alarm(message: AlarmMessage) -> EventTrigger:
    related: dict[str, Any] = {}
    if message.of_our_flows:
        related = {"prefect.resource.role": "flow", "prefect.resource.name": _our_flows()}
    return _on(
        message.events,
        {"prefect.resource.id": message.resource, **message.labels},
        within=MESSAGE_INTERVAL,
        related=related,
    )


def _our_flows() -> list[str]:
    return sorted({import_flow(each["entrypoint"]).name for each in read_deployments()})


def _message(notification_block: UUID, subject: str, body: str) -> SendNotification:
    return SendNotification(block_document_id=notification_block, subject=subject, body=body)


def advance_automation(deployment: UUID, window: timedelta = ADVANCE_WINDOW) -> Automation:
    """Return the automation that continues films and batches when clips are finished."""
    run = RunDeployment(
        source="selected", deployment_id=deployment, parameters={}, schedule_after=ADVANCE_DELAY
    )
    return Automation(
        name=ADVANCE_NAME,
        description="runs advance-films, once for all clips that land within ten seconds",
        trigger=_on(
            ("kling.job.completed",),
            {"prefect.resource.id": "kling.clip.*"},
            within=window,
            for_each=(),
        ),
        actions=[run],
    )


def _on(
    events: Collection[str],
    match: Mapping[str, Any],
    within: timedelta,
    for_each: Collection[str] = ("prefect.resource.id",),
    related: Mapping[str, Any] | None = None,
) -> EventTrigger:
    return EventTrigger(
        expect=set(events),
        match=dict(match),
        match_related=dict(related or {}),
        posture=Posture.Reactive,
        threshold=1,
        within=within,
        for_each=set(for_each),
    )


_MARK = re.compile(r" \[prefect-kling ([0-9a-f]{12})\]$")
_FROM_EARLIER = "left as it is, made by an earlier version or changed by hand (--replace renews it)"


async def bring_up_to_date(
    wanted: list[Automation], *, replace: bool = False
) -> list[AutomationKept]:
    """Create what is missing, renew what nobody has changed, and return what became of each.

    There is one automation of a name afterwards, unless somebody has changed the others by hand:
    then they are left and named. With `replace` those are renewed as well. Safe to repeat.
    """
    async with get_client() as client:
        return [
            await _bring_one_up_to_date(automation, client, replace=replace)
            for automation in wanted
        ]


async def _bring_one_up_to_date(
    automation: Automation, client: PrefectClient, *, replace: bool
) -> AutomationKept:
    name = automation.name
    automation.description += f" [prefect-kling {_fingerprint(automation)}]"
    found = await client.read_automations_by_name(name)
    if not found:
        await automation.acreate()
        return AutomationKept(name=name, outcome="created", told="created")

    ours = [each for each in found if replace or _is_unchanged(each)]
    theirs = [each for each in found if each not in ours]
    kept = theirs or ours[:1]
    for each in ours:
        if each not in kept:
            await client.delete_automation(each.id)
    if len(kept) > 1:
        told = f"left as they are, {len(kept)} of one name (--replace makes them one)"
        return AutomationKept(name=name, outcome="theirs", told=told)
    if theirs:
        return AutomationKept(name=name, outcome="theirs", told=_FROM_EARLIER)
    (stored,) = kept
    if _fingerprint(stored) == _fingerprint(automation):
        return AutomationKept(name=name, outcome="unchanged", told="unchanged")
    automation.id = stored.id
    automation.enabled = stored.enabled
    await automation.aupdate()
    return AutomationKept(name=name, outcome="renewed", told="renewed")


def _is_unchanged(stored: StoredAutomation) -> bool:
    """Whether an automation is as `prefect-kling automations` has made it."""
    mark = _MARK.search(stored.description)
    return mark is not None and mark[1] == _fingerprint(stored)


def _fingerprint(automation: AutomationCore) -> str:
    """Return a short hash of what an automation does, whichever way Prefect writes it."""
    trigger = automation.trigger
    actions = [each.model_dump(mode="json") for each in automation.actions]
    does: dict[str, Any] = {"actions": actions}
    if isinstance(trigger, EventTrigger):
        does["trigger"] = {
            "after": sorted(trigger.after),
            "expect": sorted(trigger.expect),
            "for_each": sorted(trigger.for_each),
            **trigger.model_dump(mode="json", include={"match", "match_related"}),
            "posture": str(trigger.posture),
            "within": trigger.within.total_seconds(),
        }
    text = json.dumps(does, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def automations(
    *, notify: str | None = None, replace: bool = False, as_json: AsJson = False
) -> None:
    """Create the automations of this package, and renew those that nobody has changed.

    They send messages about alarms, and continue films when a clip is finished.

    Args:
        notify: A stored notification block as type/name, such as slack-webhook/alerts; without
            one nobody is told.
        replace: Renew those, too, that an earlier version made or somebody has changed by hand.
        as_json: Print JSON.
    """
    kept = asyncio.run(_create(notify, replace=replace))
    if as_json:
        print_json(AutomationsKept(automations=tuple(kept)))
        return
    for each in kept:
        say(line_of(each))


def line_of(kept: AutomationKept) -> str:
    """Return what became of an automation, in words."""
    return f"{kept.told}: {kept.name}"


async def _create(notify: str | None, *, replace: bool = False) -> list[AutomationKept]:
    """Bring all automations up to date, and return what became of each."""
    deployments = await our_deployments()
    wanted = []
    if notify:
        wanted.extend(message_automations(await _block_id(notify), deployments))
    left_out = []
    advancing = [each for each in deployments if each.name == "advance-films"]
    if advancing:
        twin = await _twin_of_advance(advancing[0].id)
        if twin is None:
            wanted.append(advance_automation(advancing[0].id))
        else:
            left_out.append(_left_out(ADVANCE_NAME, f"{twin!r} does the same"))
    else:
        left_out.append(_left_out(ADVANCE_NAME, "advance-films is not deployed"))
    if notify and not any(each.name == "collect-finished" for each in deployments):
        left_out.append(_left_out(SWEEP_NAME, "collect-finished is not deployed"))
        if not deployments:
            left_out.append(_left_out(WORKERS_NAME, "nothing is deployed"))
    return await bring_up_to_date(wanted, replace=replace) + left_out


def _left_out(name: str, why: str) -> AutomationKept:
    return AutomationKept(name=name, outcome="left_out", told=f"left out, {why}")


async def _twin_of_advance(deployment: UUID) -> str | None:
    """Return the name of another automation that runs advance-films when clips land."""
    async with get_client() as client:
        every = await client.read_automations()
    for each in every:
        is_on_clips = (
            isinstance(each.trigger, EventTrigger) and "kling.job.completed" in each.trigger.expect
        )
        runs_it = any(
            isinstance(action, RunDeployment) and action.deployment_id == deployment
            for action in each.actions
        )
        if each.enabled and is_on_clips and runs_it and each.name != ADVANCE_NAME:
            return each.name
    return None


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
