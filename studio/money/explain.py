"""A ledger record in words: what happened, what it may have cost, and what can be done."""

from typing import assert_never

from prefect_kling.studio.money.ledger import Entry, EntryState

_STATES = {
    EntryState.CLAIMED: "about to be sent; if its process died, it is released, for nothing was sent yet",
    EntryState.SENDING: "being sent; if its process died, it is held once it is older than a paid call may take",
    EntryState.INTENT: "being sent by an older version; if its process died, it is held",
    EntryState.SUBMITTED: "paid for, and not archived yet; running the flow again, or collect_finished, archives it",
    EntryState.HELD: "held: it is not known whether its request was taken, and it may be paid",
    EntryState.RELEASED: "not paid; it may be sent again",
    EntryState.FAILED: "failed at the API, which does not charge for that",
    EntryState.GIVEN_UP: "given up by a person; it is never sent again by itself",
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
        f"- job: {_job(entry)}",
        f"- attempt: {entry.attempt}, sent to {entry.sent_to or 'nowhere yet'} by {entry.by}",
        *(
            f"- attempt {each.number}: job {each.job_id or 'unknown'} {each.state}, {each.why}".rstrip(
                ", "
            )
            for each in entry.attempts
        ),
        *(
            f"- also: job {late.job_id} of an earlier claim, named {late.at:%Y-%m-%d %H:%M:%S}; it may be paid too"
            for late in entry.late_jobs
        ),
        "- history:",
        *(
            f"  - {event.at:%Y-%m-%d %H:%M:%S} {event.state}: {event.note}".rstrip(": ")
            for event in entry.history
        ),
    ]
    lines += ["", *next_steps(entry)]
    return "\n".join(lines).rstrip()


def next_steps(entry: Entry) -> list[str]:
    """Say what a person can do about a clip, whatever its state: the way out of it."""
    key = entry.clip_key
    retry = f"`prefect-kling ledger retry {key}` (one more attempt)"
    give_up = f"`prefect-kling ledger give-up {key}` (wait no longer; its worst price is booked)"
    match entry.state:
        case EntryState.HELD:
            return [*remedies(entry), f"- If nobody can tell: {give_up}."]
        case EntryState.SENDING | EntryState.INTENT:
            return [f"Once its sender counts as dead, a sweep holds it. After that: {give_up}."]
        case EntryState.CLAIMED:
            return ["A sweep, or the next run, releases it if its process has died."]
        case EntryState.SUBMITTED:
            return [
                f"Run its flow again, or collect_finished. If the API has forgotten the job: {retry},",
                f"or {give_up}.",
            ]
        case EntryState.FAILED:
            return [f"Change the request, or {retry}, or {give_up}."]
        case EntryState.GIVEN_UP:
            adopt = f"`prefect-kling ledger adopt {key} JOB_ID` (its job was found)"
            return [f"It stays so, unless: {retry}, or {adopt}."]
        case EntryState.RELEASED:
            return ["Run its flow to send it."]
        case EntryState.ARCHIVED:
            return []
        case _:
            assert_never(entry.state)


def _job(entry: Entry) -> str:
    if entry.job_id is None:
        return "no job id is known"
    if entry.state is EntryState.HELD:
        return f"{entry.job_id}, named in the answer"
    return entry.job_id


def remedies(entry: Entry) -> list[str]:
    """Say what to look for, and name the two commands that resolve a held clip."""
    when = "at an unknown time"
    if entry.sent_at is not None:
        when = f"about {entry.sent_at:%Y-%m-%d %H:%M} UTC"
    found = f"job {entry.named_job_id} is there"
    adopt = f"prefect-kling ledger adopt {entry.clip_key} {entry.named_job_id}"
    release = f"prefect-kling ledger release {entry.clip_key} {' '.join(entry.named_job_ids)}"
    if entry.named_job_id is None:
        found = "the job is there"
        adopt = f"prefect-kling ledger adopt {entry.clip_key} JOB_ID"
        release = f"prefect-kling ledger release {entry.clip_key}"
    look = (
        "Whether the request was taken is not known. Look at the task list of your account at "
        f"{entry.sent_to or 'the API'} for a job of {entry.order.request.model} with this prompt, "
        f"sent {when}, and at what the account was charged or has frozen. Then either"
    )
    return [
        look,
        "",
        f"- {found}: `{adopt}` (it is waited for and archived), or",
        f"- it is not, and nothing is charged for it: `{release}` (it may be sent, and paid, again).",
    ]
