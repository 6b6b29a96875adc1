"""`python -m tests.mutants FILES`: put each small mistake into the money path, and see who notices.

FILES are names in studio/money, such as `ledger budget`; those of `FILES` unless given. A mutant is
a copy of this process with one function exchanged, so nothing on disk changes and nothing is
imported again. It runs the tests that reach the line, the quickest first, until one fails. With
`EVERY=10` in the environment only every tenth mutant is tried.
"""

import multiprocessing
import os
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from prefect_kling.deployments.local import seaweed as local_seaweed
from prefect_kling.deployments.local.demo import BUCKET
from tests.mutants import trial
from tests.mutants.mutations import Mutant, mutants_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.process import BaseProcess

ROOT = Path(__file__).parent.parent.parent
MONEY = ROOT / "studio" / "money"
FILES = ("ledger", "budget", "reservations", "submission")
AT_ONCE = 2
LONGEST_SECONDS = 240


def main(names: list[str]) -> int:
    """Try all mutants; print those that nobody noticed, and a line of counts for each file."""
    os.chdir(ROOT)
    paths = [MONEY / f"{name}.py" for name in names or FILES]
    every = int(os.environ.get("EVERY", "1"))
    with TemporaryDirectory(prefix="prefect-kling-mutants-") as disk, one_store(Path(disk)):
        reached = trial.find_tests(paths, Path(disk))
        counts: dict[str, Counter[str]] = {}
        for path in paths:
            counts[path.stem] = Counter()
            mutants = list(mutants_of(path))[::every]
            for mutant, end in tried(mutants, reached):
                counts[path.stem][end] += 1
                if end != "killed":
                    print(f"{end}: {mutant}", flush=True)
    for name, ends in counts.items():
        told = ", ".join(f"{count} {end}" for end, count in ends.items())
        print(f"{name}: {ends.total()} mutants, {told}")
    return sum(ends["survived"] + ends["not reached"] for ends in counts.values())


@contextmanager
def one_store(folder: Path) -> "Iterator[None]":
    """Run one S3 server for all mutants, in place of one for each."""
    with local_seaweed.seaweed(folder / "s3", BUCKET) as server:

        @contextmanager
        def running_already(_folder: Path, _bucket: str) -> "Iterator[local_seaweed.LocalS3]":
            yield server

        local_seaweed.seaweed = running_already
        yield


def tried(mutants: list[Mutant], reached: trial.Reached) -> "Iterator[tuple[Mutant, str]]":
    """Try some mutants at once; yield each with how it ended."""
    waiting = list(mutants)
    running: list[tuple[Mutant, BaseProcess, float]] = []
    while waiting or running:
        while waiting and len(running) < AT_ONCE:
            mutant = waiting.pop(0)
            tests = trial.tests_of(mutant, reached)
            if not tests:
                yield mutant, "not reached"
                continue
            fork = multiprocessing.get_context("fork")
            process = fork.Process(target=trial.run_mutant, args=(mutant, tests))
            process.start()
            running.append((mutant, process, time.monotonic()))
        time.sleep(0.05)
        for each in list(running):
            mutant, process, begun = each
            if process.is_alive() and time.monotonic() - begun < LONGEST_SECONDS:
                continue
            running.remove(each)
            yield mutant, end_of(process)


def end_of(process: "BaseProcess") -> str:
    """Say how a mutant ended: noticed by a failure, by hanging, or not at all."""
    if process.is_alive():
        process.kill()
        process.join()
        return "hung"
    if process.exitcode == 0:
        return "survived"
    return "killed"


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 100))
