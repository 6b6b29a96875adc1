"""What a run of mutated inputs found: undeclared errors, the slowest case, and memory."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

MOST_SECONDS = 2.0
"""No single input may take longer, in seconds of the processor."""
MOST_MEGABYTES = 300.0
"""By so much the process may grow at most."""


@dataclass
class Report:
    """The findings of one run; `cases` counts what was tried."""

    target: str
    cases: int = 0
    slowest_seconds: float = 0.0
    slowest_seed: str = ""
    undeclared: dict[str, str] = field(default_factory=dict)
    """Errors that no docstring names, each with the seed of the first input that caused it."""
    megabytes_before: float = field(default_factory=lambda: peak_megabytes())

    @property
    def megabytes(self) -> float:
        """By how much the process has grown at its peak."""
        return peak_megabytes() - self.megabytes_before

    @property
    def is_good(self) -> bool:
        """Whether nothing undeclared came up and every case stayed inside its bounds."""
        in_time = self.slowest_seconds < MOST_SECONDS
        return not self.undeclared and in_time and self.megabytes < MOST_MEGABYTES

    @contextmanager
    def case(self, seed: str) -> Iterator[None]:
        """Time one input and note what it raises."""
        self.cases += 1
        start = time.process_time()
        try:
            yield
        except Exception as error:
            told = f"{type(error).__name__}: {error}"[:300]
            self.undeclared.setdefault(told, seed)
        took = time.process_time() - start
        if took > self.slowest_seconds:
            self.slowest_seconds = took
            self.slowest_seed = seed

    def __str__(self) -> str:
        told = (
            f"{self.target}: {self.cases:,} cases, slowest {self.slowest_seconds:.3f} s "
            f"(seed {self.slowest_seed}), peak memory +{self.megabytes:.0f} MB, "
            f"{len(self.undeclared)} undeclared errors"
        )
        lines = [told]
        lines += [f"  seed {seed}: {told}" for told, seed in self.undeclared.items()]
        return "\n".join(lines)


def peak_megabytes() -> float:
    """The largest size of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if sys.platform == "darwin":
        return peak / 2**20
    return peak / 2**10
