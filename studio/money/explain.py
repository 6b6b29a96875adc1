"""A ledger record in words: what happened, what it may have cost, and what can be done."""

from collections.abc import Callable
from typing import assert_never

from prefect_kling.kling.job_ids import is_job_id
from prefect_kling.studio.money.ledger import Entry, EntryState

_STATES = {
    EntryState.CLAIMED: (
        "about to be sent; if its process died, it is released, for nothing was sent yet"
    ),
    EntryState.SENDING: (
        "being sent; if its process died, it is held once it is older than a paid call may take"
    ),
    EntryState.INTENT: "being sent by an older version; if its process died, it is held",
    EntryState.SUBMITTED: (
        "paid for, and not archived yet; running the flow again, or collect_finished, archives it"
    ),
    EntryState.HELD: "held: it is not known whether its request was taken, and it may be paid",
    EntryState.RELEASED: "not paid; it may be sent again",
    EntryState.FAILED: "failed at the API, which does not charge for that",
    EntryState.GIVEN_UP: "given up by a person; it is never sent again by itself",
    EntryState.ARCHIVED: "archived and paid",
}


def explain(entry: Entry, shown: Callable[[str], str]) -> str:
    """Tell a record to a person, in Markdown that also reads well as plain text.

    `shown` makes a text of somebody else fit for where it is told; it returns one line.
    """
    cost = (
        f"${entry.charged_usd}"
        if entry.charged_usd is not None
        else f"at most ${entry.at_most_usd}"
    )
    if entry.state in (EntryState.RELEASED, EntryState.FAILED):
        cost = "nothing"
    request = entry.order.request
    lines = [
        f"clip {entry.clip_key}: {_STATES[entry.state]}",
        "",
        f"- request: {shown(request.headline)} ({request.model}, take {entry.order.take})",
        f"- cost: {cost}",
        f"- job: {shown(_job(entry))}",
        (
            f"- attempt: {entry.attempt}, sent to {shown(entry.sent_to or 'nowhere yet')} by "
            f"{shown(entry.by)}"
        ),
    ]
    for attempt in entry.attempts:
        job_id = shown(attempt.job_id or "unknown")
        line = f"- attempt {attempt.number}: job {job_id} {attempt.state}, {shown(attempt.why)}"
        lines.append(line.rstrip(", "))
    for late in entry.late_jobs:
        when = f"{late.at:%Y-%m-%d %H:%M:%S}"
        job_id = shown(late.job_id)
        lines.append(f"- also: job {job_id} of an earlier claim, named {when}; it may be paid too")
    lines.append("- history:")
    for event in entry.history:
        line = f"  - {event.at:%Y-%m-%d %H:%M:%S} {event.state}: {shown(event.note)}"
        lines.append(line.rstrip(": "))
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
                (
                    "Run its flow again, or collect_finished. If the API has "
                    f"forgotten the job: {retry},"
                ),
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
    found = "the job is there"
    adopt = f"prefect-kling ledger adopt {entry.clip_key} JOB_ID"
    release = f"prefect-kling ledger release {entry.clip_key}"
    # A command is there to be pasted: what has not the shape of an id does not stand in one.
    if all(is_job_id(job_id) for job_id in entry.named_job_ids):
        release = " ".join((release, *entry.named_job_ids))
    else:
        release = f"{release} JOB_ID …"
    if entry.named_job_id is not None and is_job_id(entry.named_job_id):
        found = f"job {entry.named_job_id} is there"
        adopt = f"prefect-kling ledger adopt {entry.clip_key} {entry.named_job_id}"
    look = (
        "Whether the request was taken is not known. Look at the task list of your account at "
        f"{entry.sent_to or 'the API'} for a job of {entry.order.request.model} with this prompt, "
        f"sent {when}, and at what the account was charged or has frozen. Then either"
    )
    return [
        look,
        "",
        f"- {found}: `{adopt}` (it is waited for and archived), or",
        (
            f"- it is not, and nothing is charged for it: `{release}` (it may be "
            "sent, and paid, again)."
        ),
    ]
