"""What a running set-up needs from time to time: sweeps, and decisions about held clips."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName
from prefect.client.schemas.responses import DeploymentResponse

from prefect_kling.blocks import KlingArchive
from prefect_kling.deployments.doctor.context import DoctorContext
from prefect_kling.deployments.doctor.finding import Finding, Reason, hint, ok
from prefect_kling.flows import collect_finished
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.concurrency import in_thread


async def sweeps(context: DoctorContext) -> Finding:
    """The flow that collects finished jobs is deployed with an active schedule."""
    async with get_client() as client:
        flows = FlowFilter(name=FlowFilterName(any_=[collect_finished.name]))
        deployments = await client.read_deployments(flow_filter=flows)

    if not deployments:
        fix = "`prefect-kling serve`, or `prefect deploy`"
        return hint(Reason.SWEEPS_NOT_DEPLOYED, collect_finished.name, fix=fix)
    if not any(_is_scheduled(deployment) for deployment in deployments):
        fix = (
            "set `active: true` in deployments/prefect.yaml and deploy; "
            "served: switch it on in the Prefect UI"
        )
        return hint(Reason.SWEEPS_NOT_SCHEDULED, fix=fix)
    return ok(Reason.SWEEPS_SCHEDULED)


def _is_scheduled(deployment: DeploymentResponse) -> bool:
    if deployment.paused:
        return False
    return any(schedule.active for schedule in deployment.schedules)


async def held_clips(context: DoctorContext) -> Finding:
    """No clip waits for a person's decision."""
    count = await in_thread(_count_held, context.loaded_archive)
    if count:
        fix = "`prefect-kling ledger list held`, then `prefect-kling ledger show KEY`"
        return hint(Reason.CLIPS_HELD, value=count, fix=fix)
    return ok(Reason.NO_CLIP_HELD)


def _count_held(block: KlingArchive) -> int:
    ledger = block.get_archive().ledger
    clip_keys = set()
    for name in ledger.bucket.names(layout.HELD_MARKERS):
        clip_key, _ = layout.parse_marker(name)
        clip_keys.add(clip_key)

    # A marker may be older than the decision about its clip. The record counts.
    count = 0
    for clip_key in clip_keys:
        record = ledger.read(clip_key)
        if record is not None and record.entry.state is EntryState.HELD:
            count += 1
    return count
