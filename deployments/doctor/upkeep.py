"""What a running set-up needs from time to time: sweeps, and decisions about held clips."""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName

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
        fix = "`prefect-kling deploy --schedule collect-finished`, or `prefect-kling serve`"
        return hint(Reason.SWEEPS_NOT_DEPLOYED, collect_finished.name, fix=fix)
    scheduled = [each for each in deployments if any(on.active for on in each.schedules)]
    if scheduled and all(each.paused for each in scheduled):
        name = f"{collect_finished.name}/{scheduled[0].name}"
        fix = (
            "switch it on again: on its page in the Prefect UI, or by `prefect-kling serve` or "
            "`prefect-kling deploy`; a serve that has ended pauses what it served"
        )
        return hint(Reason.SWEEPS_PAUSED, name, fix=fix)
    if not scheduled:
        fix = (
            "`prefect-kling deploy --schedule collect-finished`; "
            "served: switch it on in the Prefect UI"
        )
        return hint(Reason.SWEEPS_NOT_SCHEDULED, fix=fix)
    return ok(Reason.SWEEPS_SCHEDULED)


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
