"""Counters for OpenTelemetry. Without its SDK, or unconfigured, they count nothing.

| name | unit | counts |
| --- | --- | --- |
| `kling.clips` | `{clip}` | jobs that ended, by `kling.outcome`: completed or failed |
| `kling.cost` | `USD` | what completed jobs cost |
| `kling.video` | `s` | seconds of video that were archived |
| `kling.clips.held` | `{clip}` | clips that were put on hold: they may be paid |

Each has the attributes `kling.model` and `kling.film`. They are counted by the process that wrote
the fact into the ledger, once, after it is written. No attribute holds a prompt, a key or an id.
"""

import threading
from functools import cache

from opentelemetry import metrics

from prefect_kling.kling.models import known_models
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.record import this_process
from prefect_kling.studio.money.settlement import Collected, Outcome

MOST_FILMS = 200
"""Different films that one process tells apart; further ones are `other`."""
_SINGLE = ("clip", "batch")
_OUTCOMES = {Outcome.ARCHIVED: "completed", Outcome.FAILED: "failed"}

_lock = threading.Lock()
_films: set[str] = set()
_held: set[tuple[str, str]] = set()


class _Counters:
    """The instruments. The API hands out ones that do nothing until a provider is set."""

    def __init__(self) -> None:
        meter = metrics.get_meter("prefect_kling")
        self.clips = meter.create_counter("kling.clips", "{clip}", "Jobs that ended")
        self.cost = meter.create_counter("kling.cost", "USD", "What completed jobs cost")
        self.video = meter.create_counter("kling.video", "s", "Seconds of video archived")
        self.held = meter.create_counter("kling.clips.held", "{clip}", "Clips put on hold")


_counters = cache(_Counters)


def count_ended(entry: Entry, collected: Collected) -> None:
    """Count the end of a job, once: for whoever closed its record (`is_news`)."""
    outcome = _OUTCOMES.get(collected.outcome)
    if outcome is None or not collected.is_news:
        return
    attributes = _attributes(entry)
    counters = _counters()
    counters.clips.add(1, attributes | {"kling.outcome": outcome})
    if collected.clip is not None:
        counters.cost.add(float(collected.clip.usd), attributes)
        counters.video.add(collected.clip.media.seconds, attributes)


def count_held(entry: Entry) -> None:
    """Count a clip that this process has put on hold, once. Whoever finds it held adds nothing."""
    if entry.state is not EntryState.HELD or entry.by != this_process():
        return
    with _lock:
        if (entry.clip_key, entry.claim) in _held:
            return
        _held.add((entry.clip_key, entry.claim))
    _counters().held.add(1, _attributes(entry))


def _attributes(entry: Entry) -> dict[str, str]:
    model = entry.order.request.model
    if model not in {known.name for known in known_models()}:
        model = "other"
    return {"kling.model": model, "kling.film": _film(entry.film)}


def _film(film: str) -> str:
    """Return the film's name; `clip` or `batch` for what belongs to none."""
    if not film:
        return "clip"
    kind = film.partition(" ")[0]
    if kind in _SINGLE and kind != film:
        # Their budgets are named by a clip key, or by the id of a table.
        return kind
    with _lock:
        if film not in _films and len(_films) >= MOST_FILMS:
            return "other"
        _films.add(film)
    return film
