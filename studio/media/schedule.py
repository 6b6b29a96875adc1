"""When each clip of a film is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Schedule:
    """Clip n is shown from `starts[n]` for `lengths[n]`, in seconds; the end of a clip may overlap with the next."""

    starts: tuple[Fraction, ...]
    lengths: tuple[Fraction, ...]

    @property
    def end(self) -> Fraction:
        """When the film ends."""
        return self.starts[-1] + self.lengths[-1]

    def until(self, number: int) -> Fraction:
        """Return when the clip after this one begins, or the film ends."""
        return self.starts[number + 1] if number + 1 < len(self.starts) else self.end

    def faded_until(self, number: int) -> Fraction:
        """Return when the clip before this one has gone: as this one begins, unless it is faded in."""
        return self.starts[number - 1] + self.lengths[number - 1] if number else self.starts[0]


def schedule(lengths: Sequence[int], fades: Sequence[int], tick: Fraction) -> Schedule:
    """Line clips up, each overlapping the one before it by its fade; lengths and fades are in ticks of that length."""
    starts, at = [], 0
    for length, fade in zip(lengths, fades, strict=True):
        starts.append(at - fade)
        at += length - fade
    return Schedule(
        tuple(start * tick for start in starts), tuple(length * tick for length in lengths)
    )
