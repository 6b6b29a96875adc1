"""Whether the API is away, as all polls of one pool have seen it: then one looks at a time."""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager

FAILURES = 8
"""After so many failed polls in a row, whoever made them, the API counts as away."""
FIRST_PAUSE = 0.5
LONGEST_PAUSE = 8.0
"""Pauses in seconds between two looks at an API that is away; they double."""


class Outage:
    """What the polls of one event loop and account know of an outage.

    While it lasts, one poll after each pause asks the API, and the others do not: they would keep
    a server from coming back, and all wait for it at the same gate. The first answer ends it; every
    poll then asks in its own time.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._pause = FIRST_PAUSE
        self._next_look = 0.0
        self._is_looking = False

    @property
    def is_on(self) -> bool:
        """Whether the API counts as away."""
        return self._failures >= FAILURES

    @property
    def admits(self) -> bool:
        """Whether a poll may be sent now."""
        if not self.is_on:
            return True
        return not self._is_looking and time.monotonic() >= self._next_look

    @contextmanager
    def call(self) -> Iterator[None]:
        """Send an admitted poll inside; nobody else looks meanwhile if the API is away."""
        is_look = self.is_on
        self._is_looking = self._is_looking or is_look
        try:
            yield
        finally:
            if is_look:
                self._is_looking = False
                self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def note_failure(self) -> None:
        """Note a poll that had no answer, or one that says that the API is out of order."""
        self._failures += 1
        pause = self._pause * random.uniform(0.75, 1.25)  # noqa: S311  not for secrets
        self._next_look = time.monotonic() + pause

    def note_answer(self) -> None:
        """Note a poll that was answered."""
        self._failures = 0
        self._pause = FIRST_PAUSE
