"""What happens to each shot right now, for whoever wants to watch: a terminal table, a test, a progress page."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.archive import Clip


class Stage(StrEnum):
    """How far a shot is."""

    WAITING = "waiting"
    SUBMITTING = "submitting"
    RENDERING = "rendering"
    ARCHIVING = "archiving"
    DONE = "done"
    FAILED = "failed"


class ShotNews(BaseModel):
    """One shot's latest news."""

    model_config = ConfigDict(frozen=True)

    shot: str
    stage: Stage
    usd: Decimal | None = None
    clip: Clip | None = None
    reused: bool = False
    words: str = ""


_watcher: ContextVar[Callable[[ShotNews], None] | None] = ContextVar("watcher", default=None)


@contextmanager
def watching(watcher: Callable[[ShotNews], None]) -> Iterator[None]:
    """Have every shot made inside this block tell its news to `watcher`, which must be quick and must not raise."""
    token = _watcher.set(watcher)
    try:
        yield
    finally:
        _watcher.reset(token)


def tell(news: ShotNews) -> None:
    """Pass a shot's news on, if anybody is watching."""
    watcher = _watcher.get()
    if watcher is not None:
        watcher(news)
