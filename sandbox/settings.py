"""The settings of a sandbox."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

DEFAULT_KEY = "sk_sandbox0000000000000"
_WEEK = 7 * 24 * 3600


@dataclass(frozen=True)
class SandboxSettings:
    """Settings of one sandbox. Raises ValueError for values that cannot work."""

    key: str = DEFAULT_KEY
    """The API key that is accepted."""
    seed: int = 0
    """Decides job ids and render times: equal seeds give equal ones."""
    render_seconds: tuple[float, float] = (2.0, 6.0)
    """Shortest and longest time a job takes. Painting may make it longer."""
    short_side: int | None = None
    """Short side of std clips in pixels, instead of 720; that of pro clips is 1.5 times as long."""
    retention_seconds: float = _WEEK
    """How long a result can be downloaded after its job ended."""
    expired_status: Literal[403, 404, 410] = 404
    """The HTTP status of the link of an expired result."""
    balance_usd: Decimal | int | str = Decimal(100)
    """The balance of the account at the start."""
    folder: Path | str | None = None
    """Where jobs and clips are kept across restarts, for one sandbox at a time.

    Without a folder they are deleted when the sandbox stops.
    """
    slots: int | None = None
    """How many jobs may run at once, None for any number.

    One more is answered 429, like error 1303 of Kling.
    """
    freeze_after_seconds: float = 0.0
    """How long after its creation a job's price begins to show as frozen."""
    freezes: bool = True
    """Freeze the price of running jobs. Without it, money moves only when a job completes."""
    charge_percent: tuple[int, ...] = (100,)
    """What completed jobs are charged, in percent of the table, by turns."""
    paints: bool = True
    """Paint clips. Without it, jobs complete as usual and their links are dead."""
    clip: Path | str | None = None
    """With `paints` off: the video that every job's link leads to, instead of dead links."""
    painters: int = 2
    """How many clips are painted at a time."""
    stamp_job_id: bool = True
    """Write the job id into the picture.

    Without it, equal requests are painted once and share one file.
    """
    extra_models: Mapping[str, str] = field(default_factory=dict)
    """Further models to accept, each with the known model whose rules and prices it follows.

    For example `{"kling-v4-omni": "kling-v3-omni"}`.
    """
    faults: tuple[Mapping[str, Any], ...] = ()
    """Faults in force from the start, as `POST /sandbox/faults` takes them.

    For example `({"name": "bom", "rate": 0.05, "seed": 7, "times": None},)`.
    """
    host: str = "127.0.0.1"
    """Where to listen. Anyone who can reach it can set faults."""
    port: int = 0
    """The port to listen on; 0 picks a free one."""

    def __post_init__(self) -> None:
        low, high = self.render_seconds
        if not 0 <= low <= high:
            raise ValueError(
                "render_seconds must be two times in ascending order, such as (2.0, 6.0)"
            )
        if not self.charge_percent or min(self.charge_percent) < 0:
            raise ValueError("charge_percent must hold numbers from 0 up, at least one")
        if self.clip is not None and self.paints:
            raise ValueError("a clip that all jobs share needs paints=False")
        if self.painters < 1:
            raise ValueError("painters must be at least 1")
        if self.slots is not None and self.slots < 1:
            raise ValueError("slots must be at least 1, or None for no limit")
        if self.short_side is not None and self.short_side < 90:
            raise ValueError(
                "short_side must be at least 90: frame codes cannot be read on smaller pictures"
            )

    def with_known_model(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return a body with its extra model replaced by the model it follows."""
        model = body.get("model")
        if isinstance(model, str) and model in self.extra_models:
            return body | {"model": self.extra_models[model]}
        return body
