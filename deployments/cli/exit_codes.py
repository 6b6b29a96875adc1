"""How a command ends, as a number for scripts.

```text
0    done
1    failed: the sentence on stderr says why, and what to do
2    wrong usage: an option or an argument that does not exist or cannot be read
3    a person must decide: something that may be paid is held, quarantined or gone
4    not finished yet: run the same again, nothing is paid twice
128+ ended by a signal: 129 SIGHUP, 130 Ctrl-C, 141 whoever read the output is gone, 143 SIGTERM
```

Servers (`sandbox`, `receiver`, `serve`) run until they are interrupted: that ends them with 0.
"""

import signal
from collections.abc import Iterable
from enum import IntEnum

from prefect_kling.kling.errors import StillRunning
from prefect_kling.studio.errors import ClipHeld, FilmIncomplete, VideoQuarantined


class ExitCode(IntEnum):
    """The exit codes that say more than a signal's number."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    HELD = 3
    NOT_FINISHED = 4


def exit_code_of(error: BaseException) -> int:
    """Return how a command ends that raised this error."""
    if isinstance(error, FilmIncomplete):
        return _of_several(error.reasons.values())
    if isinstance(error, ClipHeld | VideoQuarantined):
        return ExitCode.HELD
    if isinstance(error, StillRunning):
        return ExitCode.NOT_FINISHED
    return ExitCode.FAILED


def after_signal(number: int) -> int:
    """Return how a command ends that a signal has ended."""
    return 128 + number


BROKEN_PIPE = after_signal(signal.SIGPIPE)


def _of_several(errors: Iterable[BaseException]) -> int:
    """Return the code of the worst: what failed, then what is held, then what is not finished."""
    codes = {exit_code_of(error) for error in errors}
    for code in (ExitCode.FAILED, ExitCode.HELD, ExitCode.NOT_FINISHED):
        if code in codes:
            return code
    return ExitCode.FAILED
