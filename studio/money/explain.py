"""A ledger record in words: what happened, what it may have cost, and what can be done."""

from prefect_kling.studio.money.ledger import Entry, EntryState

_STATES = {
    EntryState.INTENT: "about to be sent; if its process died, it is held once it is older than a paid call may take",
    EntryState.SUBMITTED: "paid for, and not archived yet; running the flow again, or collect_finished, archives it",
    EntryState.HELD: "held: it was sent, and whether it was taken is unknown",
    EntryState.RELEASED: "not paid; it may be sent again",
    EntryState.FAILED: "failed at the API, which does not charge for that",
    EntryState.ARCHIVED: "archived and paid",
}


def explain(entry: Entry) -> str:
    """Tell a record to a person, in Markdown that also reads well as plain text."""
    cost = (
        f"${entry.charged_usd}"
        if entry.charged_usd is not None
        else f"at most ${entry.at_most_usd}"
    )
    lines = [
        f"clip {entry.clip_key}: {_STATES[entry.state]}",
        "",
        f"- request: {entry.order.request.headline} ({entry.order.request.model}, take {entry.order.take})",
        f"- cost: {cost if entry.state not in (EntryState.RELEASED, EntryState.FAILED) else 'nothing'}",
        f"- job: {entry.job_id or 'no job id is known'}",
        f"- attempt: {entry.attempt}, sent to {entry.sent_to or 'nowhere yet'} by {entry.by}",
        "- history:",
        *(
            f"  - {event.at:%Y-%m-%d %H:%M:%S} {event.state}: {event.note}".rstrip(": ")
            for event in entry.history
        ),
    ]
    if entry.state is EntryState.HELD:
        lines += ["", *remedies(entry)]
    return "\n".join(lines)


def remedies(entry: Entry) -> list[str]:
    """Name the two commands that resolve a held clip."""
    job = entry.job_id or "JOB_ID"
    return [
        "Look at the task list of your account at the API. Then either",
        "",
        f"- the job is there: `prefect-kling ledger adopt {entry.clip_key} {job}` (it is waited for and archived), or",
        f"- it is not: `prefect-kling ledger release {entry.clip_key}` (nothing was paid; it may be sent again).",
    ]
