"""`python -m tests.fuzz TARGET [N] [FIRST SEED]`: N mutated inputs; exit status 1 for a find."""

import logging
import sys

from tests.fuzz.calls import fuzz_callbacks
from tests.fuzz.links import fuzz_links
from tests.fuzz.media import fuzz_pictures, fuzz_videos
from tests.fuzz.redirects import fuzz_redirects
from tests.fuzz.replies import fuzz_replies
from tests.fuzz.texts import fuzz_storyboards, fuzz_tables

TARGETS = {
    "replies": fuzz_replies,
    "storyboards": fuzz_storyboards,
    "tables": fuzz_tables,
    "links": fuzz_links,
    "callbacks": fuzz_callbacks,
    "videos": fuzz_videos,
    "pictures": fuzz_pictures,
    "redirects": fuzz_redirects,
}
"""Names of targets, and functions of a number of cases and a first seed that return a `Report`."""


def main() -> None:
    """Run one target, or all."""
    arguments = [*sys.argv[1:], "all"][:3]
    chosen = list(TARGETS)
    if arguments[0] != "all":
        chosen = [arguments[0]]
    numbers = [int(each) for each in sys.argv[2:4]]
    logging.getLogger("prefect_kling").setLevel(logging.CRITICAL)
    is_good = True
    for name in chosen:
        report = TARGETS[name](*(numbers or [10_000]))
        print(report, flush=True)
        is_good = is_good and report.is_good
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
