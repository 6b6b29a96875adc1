"""What happens to each shot right now, for whoever wants to watch: a terminal table, a test, a progress page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.money.archive import Clip


class Stage(StrEnum):
    """How far a shot is."""

    WAITING = "waiting"
    QUEUED = "queued"
    SUBMITTING = "submitting"
    RENDERING = "rendering"
    ARCHIVING = "archiving"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class ShotNews(BaseModel):
    """One shot's latest news."""

    model_config = ConfigDict(frozen=True)

    shot: str
    stage: Stage
    usd: Decimal | None = None
    clip: Clip | None = None
    reused: bool = False
    words: str = ""


_watchers: ContextVar[tuple[Callable[[ShotNews], None], ...]] = ContextVar("watchers", default=())


@contextmanager
def watching(watcher: Callable[[ShotNews], None]) -> Iterator[None]:
    """Have every shot made inside this block tell its news to `watcher` too; it must be quick and must not raise."""
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


def tell(news: ShotNews) -> None:
    """Pass a shot's news on to everybody who is watching."""
    for watcher in _watchers.get():
        watcher(news)
