"""Prefect events for automations: ends of jobs and runs, alarms, and what a person is asked."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from prefect.events import emit_event
from prefect.runtime import flow_run
from prefect.utilities.urls import url_for

from prefect_kling.kling.job_ids import as_job_id
from prefect_kling.kling.prices import in_dollars
from prefect_kling.studio.batch.results import BatchResult, RowState
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.ledger import NOTHING, Entry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.settlement import Collected, Outcome
from prefect_kling.telemetry.metrics import count_ended, count_held

# The part of a cap from which `kling.budget.low` is emitted.
LOW_BUDGET = Decimal("0.8")

_EVENT_OF_OUTCOME = {
    Outcome.ARCHIVED: "kling.job.completed",
    Outcome.FAILED: "kling.job.failed",
}


def announce_ended(entry: Entry, collected: Collected) -> None:
    """Emit `kling.job.completed` or `kling.job.failed`, and `kling.clip.suspect`, once per job.

    A run, a receiver and a sweep may find the end of a job at the same time. Only the one that
    closed the job's record (`is_news`) emits the event; for the others this does nothing.

    It is counted for OpenTelemetry as well, see `metrics`.

    The payload of a completed job holds the clip's address, its price in US dollars, its size in
    bytes, and how many seconds the API took; that of a failed job holds the reason. Events go to
    the Prefect server only.
    """
    count_ended(entry, collected)
    event = _EVENT_OF_OUTCOME.get(collected.outcome)
    if event is None or not collected.is_news:
        return

    payload: dict[str, str | int | float | None] = {
        "clip_key": entry.clip_key,
        "job_id": as_job_id(entry.job_id),
    }
    if collected.clip is not None:
        clip = collected.clip
        payload["uri"] = clip.uri
        payload["usd"] = str(clip.usd)
        payload["bytes"] = clip.bytes
        payload["render_seconds"] = clip.made_in_seconds
    if collected.failure is not None:
        payload["why"] = collected.words
        payload["fail_code"] = collected.failure.fail_code
        payload["retryable"] = collected.failure.retryable
    emit_event(event, resource=resource_of(entry.clip_key), payload=payload)
    if collected.clip is not None and collected.clip.suspicions:
        _announce_suspect(collected.clip)


def _announce_suspect(clip: Clip) -> None:
    """Emit `kling.clip.suspect`: which rules a clip breaks, and why. Nobody has to do anything."""
    payload = {
        "prompt": clip.order.request.headline,
        "uri": clip.uri,
        "usd": str(clip.usd),
        "rules": clip.suspect,
        "why": "; ".join(str(each) for each in clip.suspicions),
        "job_id": as_job_id(clip.job_id),
        "url": _link_of_this_run(),
    }
    emit_event("kling.clip.suspect", resource=resource_of(clip.clip_key), payload=payload)


def announce_film(film: Film) -> None:
    """Emit `kling.film.completed` for a joined film: its address, length and price."""
    payload = {
        "uri": film.uri,
        "seconds": film.seconds,
        "usd": str(film.usd),
        "manifest_uri": film.manifest_uri,
    }
    resource = {
        "prefect.resource.id": f"kling.film.{film.slug}",
        "prefect.resource.name": film.title,
    }
    emit_event("kling.film.completed", resource=resource, payload=payload)


def announce_batch(result: BatchResult) -> None:
    """Emit `kling.batch.completed` for a batch that was sent and left: counts, price, results."""
    payload: dict[str, str | int] = {"usd": str(result.usd), "results_uri": result.csv_uri}
    payload["suspect"] = result.suspects
    for state, count in result.counts.items():
        payload[state.value.replace(" ", "_")] = count
    resource = {
        "prefect.resource.id": f"kling.batch.{result.table.id}",
        "prefect.resource.name": result.table.name,
    }
    emit_event("kling.batch.completed", resource=resource, payload=payload)


def announce_batch_trouble(result: BatchResult, run_id: UUID | None = None) -> None:
    """Emit `kling.batch.failed` for a batch some of whose rows have failed or are held.

    Does nothing for any other batch. `run_id` is the run that made it, if it is still there.
    """
    failed = result.count(RowState.FAILED)
    held = result.count(RowState.HELD)
    if not failed and not held:
        return
    payload = {
        "why": f"{failed} of {len(result)} rows have failed, {held} are held",
        "made": result.count(RowState.ARCHIVED),
        "worth_usd": str(result.usd),
        "results_uri": result.csv_uri,
    }
    resource = {
        "prefect.resource.id": f"kling.batch.{result.table.id}",
        "prefect.resource.name": result.table.name,
    }
    if run_id is not None:
        payload["url"] = run_link(run_id)
        resource["prefect.resource.id"] = f"kling.run.{run_id}"
    emit_event("kling.batch.failed", resource=resource, payload=payload)


def announce_alarm(
    kind: str,
    order: ClipOrder,
    why: str,
    at_most_usd: Decimal | None = None,
    job_id: str | None = None,
    entry: Entry | None = None,
) -> None:
    """Emit `kling.clip.` and `held`, `expiring`, `overdue`, `quarantined` or `gone`.

    A person is needed.

    Every sweep that finds such a clip emits it again, and so does every run that finds a held one.
    """
    if kind == "held" and entry is not None:
        count_held(entry)
    cost = None
    if at_most_usd is not None:
        cost = str(at_most_usd)
    payload = {
        "prompt": order.request.headline,
        "why": why,
        "at_most_usd": cost,
        "job_id": as_job_id(job_id),
        "url": _link_of_this_run(),
    }
    emit_event(f"kling.clip.{kind}", resource=resource_of(order.clip_key), payload=payload)


def announce_budget(name: str, cap_usd: Decimal, committed_usd: Decimal, step_usd: Decimal) -> None:
    """Emit `kling.budget.low` if the last step took the committed money past four fifths of a cap.

    `committed_usd` is what is spent and reserved, `step_usd` the last reservation in it.
    """
    threshold = cap_usd * LOW_BUDGET
    before = committed_usd - step_usd
    if not before < threshold <= committed_usd:
        return

    resource = {"prefect.resource.id": f"kling.budget.{name}", "prefect.resource.name": name}
    payload = {
        "cap_usd": str(cap_usd),
        "committed_usd": str(committed_usd),
        "url": _link_of_this_run(),
    }
    emit_event("kling.budget.low", resource=resource, payload=payload)


def announce_approval(
    run_id: UUID, name: str, at_most_usd: Decimal, limit_usd: Decimal, until: datetime
) -> None:
    """Emit `kling.approval.wanted`: which run waits, for how much, until when, and its link."""
    payload = {
        "at_most_usd": str(at_most_usd),
        "limit_usd": in_dollars(limit_usd),
        "until": f"{until:%Y-%m-%d %H:%M} UTC",
        "url": run_link(run_id),
    }
    emit_event("kling.approval.wanted", resource=_run(run_id, name), payload=payload)


def announce_open_picks(run_id: UUID, name: str, shots: int, until: datetime) -> None:
    """Emit `kling.picks.wanted`: which run waits, of how many shots, until when, and its link."""
    payload = {
        "shots": str(shots),
        "until": f"{until:%Y-%m-%d %H:%M} UTC",
        "url": run_link(run_id),
    }
    emit_event("kling.picks.wanted", resource=_run(run_id, name), payload=payload)


def announce_failed(
    kind: str,
    run_id: UUID,
    name: str,
    why: str,
    *,
    made: int = 0,
    paid_usd: Decimal = NOTHING,
    failed: Sequence[str] = (),
) -> None:
    """Emit `kling.` and `film`, `batch`, `clip`, `sweep` or `report`, and `.failed`.

    The payload says why, how many clips the run has made and what they cost, which shots failed,
    and where the run is.
    """
    payload = {
        "why": why,
        "made": made,
        "paid_usd": str(paid_usd),
        "failed": ", ".join(failed),
        "url": run_link(run_id),
    }
    emit_event(f"kling.{kind}.failed", resource=_run(run_id, name), payload=payload)


def announce_stopped_film(slug: str, title: str, why: str) -> None:
    """Emit `kling.film.failed` for a film that was sent and left and cannot go on.

    Every run of `advance_films` that finds it so emits it again.
    """
    resource = {"prefect.resource.id": f"kling.film.{slug}", "prefect.resource.name": title}
    emit_event("kling.film.failed", resource=resource, payload={"why": why})


def announce_receiver(name: str, *, stopped: bool = False) -> None:
    """Emit `kling.receiver.alive`, or `kling.receiver.stopped` when it ends as it should."""
    resource = {"prefect.resource.id": f"kling.receiver.{name}", "prefect.resource.name": name}
    event = "kling.receiver.alive"
    if stopped:
        event = "kling.receiver.stopped"
    emit_event(event, resource=resource)


def run_link(run_id: UUID) -> str:
    """Return the address of a run in the Prefect UI; empty where `PREFECT_UI_URL` says nothing."""
    return url_for("flow-run", obj_id=run_id) or ""


def _link_of_this_run() -> str:
    """Return the address of the run that this is called in; empty outside of runs, too."""
    run_id = flow_run.id
    if run_id is None:
        return ""
    return run_link(UUID(str(run_id)))


def _run(run_id: UUID, name: str) -> dict[str, str]:
    return {"prefect.resource.id": f"kling.run.{run_id}", "prefect.resource.name": name}


def resource_of(clip_key: str) -> dict[str, str]:
    """Return a clip as the resource of an event."""
    return {"prefect.resource.id": f"kling.clip.{clip_key}", "prefect.resource.name": clip_key}
