"""One process that makes batch after batch under faults: what it holds, by the minute.

The flows run in this process; the sandbox, the S3 server and the Prefect server are others. One
call in twenty is spoilt by a fault, another kind for each batch. A clip is lost if no run came to
it.
"""

import asyncio
import gc
import itertools
import logging
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import BUCKET, local_archive
from prefect_kling.deployments.local.prefect_server import prefect_server
from prefect_kling.deployments.local.seaweed import seaweed
from prefect_kling.flows import collect_finished, generate_batch
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox.named_faults import NAMED_FAULTS
from prefect_kling.studio.batch.results import RowState
from tests.kill.crew import Api, api_process

CLIPS = 10
RATE = 0.05
PAUSE_SECONDS = 5.0
"""Between two batches: the machine is used by others, too."""
SWEEP_EVERY = 10
_CALLBACKS = "callback-"
MOST_GROWTH = 1.10
"""Of the medians of the last quarter over those of the second. The first quarter warms up."""


@dataclass(frozen=True)
class Sample:
    """What the process held at one time."""

    minute: float
    clips: int
    memory_mb: float
    blocks: int
    """Pieces of memory that Python objects hold. Where these stay and the memory grows, the
    allocator of the C library keeps what was freed."""
    descriptors: int
    threads: int


FIGURES = {
    "memory": "memory_mb",
    "blocks": "blocks",
    "descriptors": "descriptors",
    "threads": "threads",
}
"""What must not grow."""


@dataclass
class Report:
    """The samples, and what became of the clips."""

    samples: list[Sample] = field(default_factory=list)
    states: Counter[RowState] = field(default_factory=Counter)
    paid_twice: int = 0
    lost: int = 0

    def growth(self, name: str) -> float:
        """Return how much a figure has grown from the second quarter to the last."""
        values = [getattr(sample, name) for sample in self.samples]
        quarter = len(values) // 4
        if not quarter:
            return 1.0
        return statistics.median(values[-quarter:]) / statistics.median(
            values[quarter : 2 * quarter]
        )

    @property
    def is_flat(self) -> bool:
        """Whether nothing grows."""
        return all(self.growth(name) <= MOST_GROWTH for name in FIGURES.values())

    def __str__(self) -> str:
        lines = [
            "| minute | clips | memory, MB | blocks, thousands | descriptors | threads |",
            "|---|---|---|---|---|---|",
        ]
        step = max(1, len(self.samples) // 20)
        lines += [
            f"| {each.minute:.0f} | {each.clips} | {each.memory_mb:.0f} "
            f"| {each.blocks / 1000:.0f} | {each.descriptors} | {each.threads} |"
            for each in self.samples[::step]
        ]
        grown = ", ".join(f"{what} {self.growth(name):.2f}" for what, name in FIGURES.items())
        states = ", ".join(f"{count} {state.value}" for state, count in self.states.most_common())
        lines += [
            "",
            f"Last quarter over the second: {grown}; flat: {'yes' if self.is_flat else 'no'}.",
            f"Rows: {states}; paid twice {self.paid_twice}, lost {self.lost}.",
        ]
        return "\n".join(lines) + "\n"


def sample(begun: float, clips: int) -> Sample:
    """Return what this process holds now, without what is only waiting to be collected."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    facts = dict(line.split(":", 1) for line in status.splitlines())
    return Sample(
        minute=(time.monotonic() - begun) / 60,
        clips=clips,
        memory_mb=int(facts["VmRSS"].split()[0]) / 1024,
        blocks=sys.getallocatedblocks(),
        descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        threads=int(facts["Threads"]),
    )


def faults() -> Iterator[str]:
    """Yield the names of faults without end; those of callbacks need a receiver."""
    names: Sequence[str] = [name for name in NAMED_FAULTS if not name.startswith(_CALLBACKS)]
    return itertools.cycle(names)


async def soak(seconds: float) -> Report:
    """Make batches for so long and return what was seen."""
    with ExitStack() as stack:
        logging.disable(logging.WARNING)
        stack.callback(logging.disable, logging.NOTSET)
        temporary = TemporaryDirectory(prefix="prefect-kling-", ignore_cleanup_errors=True)
        disk = Path(stack.enter_context(temporary))
        api = stack.enter_context(api_process(disk / "api", (0.5, 2.0)))
        s3 = stack.enter_context(seaweed(disk / "s3", BUCKET))
        stack.enter_context(prefect_server(disk / "prefect"))
        credentials = KlingCredentials(
            api_key=SecretStr(api.key),
            base_url=api.url,
            first_poll_seconds=0.5,
            longest_poll_seconds=1.0,
            wait_minutes=0.5,
            read_seconds=5.0,
            create_seconds=10.0,
        )
        return await _batches(seconds, api, credentials, local_archive(s3))


async def _batches(
    seconds: float, api: Api, credentials: KlingCredentials, archive: KlingArchive
) -> Report:
    report = Report()
    begun = time.monotonic()
    sampled = begun - 60
    for number, name in enumerate(faults()):
        if time.monotonic() - begun > seconds and number > 1:
            break
        api.behave()
        api.fault({"name": name, "rate": RATE, "seed": number, "times": None})
        requests = [
            VideoRequest(model="kling-v3-omni", prompt=f"soak {number} {each}", duration=3)
            for each in range(CLIPS)
        ]
        result = await generate_batch(requests, credentials, archive)
        report.states.update(result.counts)
        if number % SWEEP_EVERY == 0:
            api.behave()
            await collect_finished(credentials, archive)
        if time.monotonic() - sampled >= min(60.0, seconds / 20):
            sampled = time.monotonic()
            report.samples.append(sample(begun, (number + 1) * CLIPS))
        if seconds > 600:
            await asyncio.sleep(PAUSE_SECONDS)
    made = Counter(job["body"]["prompt"] for job in api.read("jobs") if job["state"] == "completed")
    report.paid_twice = sum(times - 1 for times in made.values())
    report.lost = report.states[RowState.NOT_SENT]
    return report
