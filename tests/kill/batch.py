"""`python -m tests.kill batch`: a process that makes many clips is killed at a random POST.

Each round has an archive of its own. One process makes all clips of the round side by side and dies
of SIGKILL when a random one of its POSTs is at a random point between its first byte and its
written id. Then the batch is run again and not killed. Exit code 1 when a rule is broken.
"""

import argparse
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.submission import SubmitOptions
from tests.kill.crew import PROCESSES, Api, api_process, resume
from tests.kill.points import UNKNOWN
from tests.kill.worker import Assignment, Place, work_through

BUCKET = "films"
CREATE_SECONDS = 3.0
WINDOW = 8.0
DEADLY = UNKNOWN


@dataclass(frozen=True)
class Round:
    """What became of one killed batch."""

    point: str
    post: int
    clips: int
    exit_code: int | None
    jobs: int
    paid_twice: int
    archived: int
    held: int
    held_and_paid: int

    @property
    def never_sent(self) -> int:
        """Clips that are held although the API made no job for them."""
        return self.held - self.held_and_paid

    @property
    def lost(self) -> int:
        """Clips that are neither archived nor held."""
        return self.clips - self.archived - self.held

    def broken(self, bound: int) -> list[str]:
        """Name the rules that were broken."""
        rules = {
            "the process did not die of the kill": self.exit_code != -9,
            f"more than {bound} clips are held": self.held > bound,
            "a clip was paid twice": self.paid_twice > 0,
            "a clip was lost": self.lost > 0,
        }
        return [rule for rule, is_broken in rules.items() if is_broken]


def one_round(api: Api, place: Place, clips: int, dice: random.Random, bound: int) -> Round:
    """Kill one batch, run it again, and count."""
    terms = SubmitOptions(window=WINDOW, busy=60.0, look_again=0.2, sends_at_once=bound)
    tasks = [
        Assignment(place, f"{place.prefix} {number}", terms, CREATE_SECONDS)
        for number in range(clips)
    ]
    point = dice.choice(DEADLY)
    post = dice.randint(1, clips)
    exit_code = kill_batch(tasks, (point, post))
    time.sleep(WINDOW / 2)
    resume([replace(task, terms=replace(terms, busy=120.0)) for task in tasks])

    prompts = [job["body"]["prompt"] for job in api.read("jobs")]
    jobs = {task.prompt: prompts.count(task.prompt) for task in tasks}
    states = dict(entry_states(tasks, place))
    held = [prompt for prompt, state in states.items() if state is EntryState.HELD]
    return Round(
        point=point,
        post=post,
        clips=clips,
        exit_code=exit_code,
        jobs=sum(jobs.values()),
        paid_twice=sum(count > 1 for count in jobs.values()),
        archived=sum(state is EntryState.ARCHIVED for state in states.values()),
        held=len(held),
        held_and_paid=sum(jobs[prompt] > 0 for prompt in held),
    )


def kill_batch(tasks: list[Assignment], die_at: tuple[str, int]) -> int | None:
    """Make all clips in one process that dies on the way, and return its exit code."""
    heard, said = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(
        target=work_through, args=(tasks, said, len(tasks), die_at), daemon=True
    )
    process.start()
    said.close()
    try:
        while True:
            heard.recv()
    except EOFError:
        process.join()
    return process.exitcode


def entry_states(tasks: list[Assignment], place: Place) -> Iterator[tuple[str, EntryState | None]]:
    """Tell for each clip where its money stands."""
    archive = place.archive()
    for task in tasks:
        page = archive.ledger.read(task.order.clip_key)
        yield task.prompt, page.entry.state if page is not None else None


def rounds(
    number: int,
    clips: int,
    seed: int,
    folder: Path,
    bound: int = 4,
    cap_usd: Decimal | None = None,
) -> Iterator[Round]:
    """Run so many rounds on servers of their own; with a cap each clip is accounted for, too."""
    dice = random.Random(seed)
    with ExitStack() as servers:
        s3 = servers.enter_context(seaweed(folder / "s3", BUCKET))
        api = servers.enter_context(api_process(folder / "api", (0.5, 1.5)))
        for each in range(number):
            place = Place(api.url, api.key, s3, BUCKET, f"round-{each}", cap_usd)
            yield one_round(api, place, clips, dice, bound)


def main(words: list[str]) -> int:
    """Run, print a table in Markdown, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill batch", description=__doc__)
    parser.add_argument("rounds", type=int, nargs="?", default=5)
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--bound", type=int, default=4)
    parser.add_argument("--cap", type=Decimal, help="US dollars; none by default")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args(words)

    print(f"seed {given.seed}, {given.clips} clips a round, at most {given.bound} in doubt")
    print(
        "| died at | POST no. | jobs made | paid twice | archived | held | of "
        "these never sent | lost |"
    )
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    broken: list[str] = []
    never_sent = 0
    with tempfile.TemporaryDirectory(prefix="kling-batch-", ignore_cleanup_errors=True) as folder:
        for each in rounds(
            given.rounds, given.clips, given.seed, Path(folder), given.bound, given.cap
        ):
            figures = (each.post, each.jobs, each.paid_twice, each.archived, each.held)
            row = [each.point, *figures, each.never_sent, each.lost]
            never_sent += each.never_sent
            print(f"| {' | '.join(map(str, row))} |", flush=True)
            broken += each.broken(given.bound)
    clips = given.rounds * given.clips
    print(f"held and never sent: {never_sent} of {clips} clips, {never_sent / clips:.2%}")
    print(f"rules broken: {'; '.join(broken) or 'none'}")
    return 1 if broken else 0
