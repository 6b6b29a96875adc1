"""`python -m tests.books N`: N clips with lost answers, judged by the books of many accounts.

Prints a table in Markdown; exit code 1 if a clip was released that is paid.
"""

import argparse
import random
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from prefect_kling.deployments.local.seaweed import seaweed
from tests.books.rounds import BUCKET, SCENARIOS, Count, Scenario, rounds


def main() -> int:
    """Run, print, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.books", description=__doc__)
    parser.add_argument("clips", type=int, nargs="?", default=200)
    parser.add_argument("--window", type=int, default=4, help="clips between two readings")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", help="the scenario whose name begins so")
    given = parser.parse_args()
    chosen = tuple(each for each in SCENARIOS if each.name.startswith(given.only or ""))
    print(f"seed {given.seed}, {given.clips} clips each, {given.window} between two readings\n")
    print(
        "| the account | clips | killed | held | of these paid | released | decided | left "
        "| said to be paid | of these not | wrong |"
    )
    print(f"| --- |{' ---: |' * 10}")
    wrong = 0
    with ExitStack() as resources:
        folder = resources.enter_context(tempfile.TemporaryDirectory(prefix="kling-books-"))
        s3 = resources.enter_context(seaweed(Path(folder), BUCKET))
        threads = resources.enter_context(ThreadPoolExecutor(len(chosen)))

        def play(scenario: Scenario) -> Count:
            return rounds(s3, given.clips, given.window, scenario, given.seed)

        # They mostly wait for jobs to end.
        for scenario, count in zip(chosen, threads.map(play, chosen), strict=True):
            print(f"| {' | '.join([scenario.name, *count.row()])} |", flush=True)
            wrong += count.wrong
    print(f"\nwrong decisions: {wrong}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
