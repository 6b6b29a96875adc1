"""What is checked of one order before its clip is claimed."""

from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.inputs import (
    InputAccess,
    require_reachable,
    unreachable_inputs,
)
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.orders import ClipOrder

# States after which a clip's request is sent (again). In every other state there may be a job.
_TO_BE_SENT = (EntryState.RELEASED, EntryState.FAILED)


def require_sendable(order: ClipOrder, archive: Archive, access: InputAccess) -> None:
    """Raise if an order that is still to be sent cannot succeed, as far as that is known here.

    Free, blocking. Raises `RequestRefused` for what cannot be written as JSON, `InputUnusable` for
    an address in the archive that is no input, and `InputUnreachable` for inputs that the API
    cannot fetch. A clip with a job needs its inputs no more: it is never refused.
    """
    order.request.require_sendable()
    unreachable = unreachable_inputs(order.request, archive.bucket, access)
    if not unreachable:
        return
    version = archive.ledger.read(order.clip_key)
    if version is None or version.entry.state in _TO_BE_SENT:
        require_reachable(unreachable)
