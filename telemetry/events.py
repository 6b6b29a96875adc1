"""What other people's automations hang on: the ends of jobs, told at most once, and clips that need somebody."""

from decimal import Decimal

from prefect.events import emit_event

from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.money.collection import Collected, Outcome
from prefect_kling.studio.money.ledger import Entry
from prefect_kling.studio.money.orders import ClipOrder

NEARLY = Decimal("0.8")
_ENDS = {Outcome.ARCHIVED: "kling.job.completed", Outcome.FAILED: "kling.job.failed"}


def announce_ended(entry: Entry, collected: Collected) -> None:
    """Emit `kling.job.completed` or `kling.job.failed` for a job whose record the caller closed; else nothing.

    Of all who may meet the end of a job at once, a run, a receiver, a sweep, one closes its record and tells.

    The payload holds the clip's address, its price in US dollars, its bytes, and how many seconds the API took; or why
    it failed. Events are told to the Prefect server and to nobody else.
    """
    kind = _ENDS.get(collected.outcome)
    if kind is None or not collected.is_news:
        return
    clip, failure = collected.clip, collected.failure
    payload: dict[str, str | int | float | None] = {
        "clip_key": entry.clip_key,
        "job_id": entry.job_id,
    }
    if clip is not None:
        payload |= {
            "uri": clip.uri,
            "usd": str(clip.usd),
            "bytes": clip.bytes,
            "render_seconds": clip.made_in_seconds,
        }
    if failure is not None:
        payload |= {
            "why": collected.words,
            "fail_code": failure.fail_code,
            "retryable": failure.retryable,
        }
    emit_event(kind, resource=resource_of(entry.clip_key), payload=payload)


def announce_film(film: Film) -> None:
    """Emit `kling.film.completed` for a film that was joined: its address, length and worth."""
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


def announce_alarm(
    kind: str,
    order: ClipOrder,
    why: str,
    at_most_usd: Decimal | None = None,
    job_id: str | None = None,
) -> None:
    """Emit `kling.clip.held`, `.expiring` or `.gone`: a clip that somebody must look at.

    Each sweep that meets it, and each run that meets a held one, tells it again: it is heard often, and not missed.
    """
    cost = None if at_most_usd is None else str(at_most_usd)
    payload = {"prompt": order.request.headline, "why": why, "at_most_usd": cost, "job_id": job_id}
    emit_event(f"kling.clip.{kind}", resource=resource_of(order.clip_key), payload=payload)


def resource_of(clip_key: str) -> dict[str, str]:
    """Name a clip as Prefect's events do."""
    return {"prefect.resource.id": f"kling.clip.{clip_key}", "prefect.resource.name": clip_key}


def announce_budget(name: str, cap_usd: Decimal, committed_usd: Decimal, step_usd: Decimal) -> None:
    """Emit `kling.budget.low` when the last step took what is spent or set aside past four fifths of a cap."""
    if not committed_usd - step_usd < cap_usd * NEARLY <= committed_usd:
        return
    resource = {"prefect.resource.id": f"kling.budget.{name}", "prefect.resource.name": name}
    payload = {"cap_usd": str(cap_usd), "committed_usd": str(committed_usd)}
    emit_event("kling.budget.low", resource=resource, payload=payload)
