"""When each clip of a film is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Schedule:
    """Clip n is shown from `starts[n]` for `lengths[n]`, in seconds; clips may overlap."""

    starts: tuple[Fraction, ...]
    lengths: tuple[Fraction, ...]

    @property
    def end(self) -> Fraction:
        """When the film ends."""
        return self.starts[-1] + self.lengths[-1]

    def until(self, number: int) -> Fraction:
        """Return when the clip after this one begins, or the film ends."""
        if number + 1 == len(self.starts):
            return self.end
        return self.starts[number + 1]

    def faded_until(self, number: int) -> Fraction:
        """Return when the clip before this one ends: as this one begins, unless it is faded in."""
        if number == 0:
            return self.starts[0]
        return self.starts[number - 1] + self.lengths[number - 1]


def schedule(lengths: Sequence[int], fades: Sequence[int], tick: Fraction) -> Schedule:
    """Line clips up, each overlapping the one before it by its fade.

    Lengths and fades are in ticks, a tick in seconds.
    """
    starts = []
    end = 0
    for length, fade in zip(lengths, fades, strict=True):
        start = end - fade
        starts.append(start)
        end = start + length
    return Schedule(
        starts=tuple(start * tick for start in starts),
        lengths=tuple(length * tick for length in lengths),
    )
