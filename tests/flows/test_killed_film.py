"""A film whose process is killed again and again is finished by the next run and paid once."""

import asyncio
import os
import random
import select
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE

import pytest
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import local_archive
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.flows import produce_film
from prefect_kling.sandbox import Sandbox, SandboxSettings
from prefect_kling.studio.errors import FilmIncomplete
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money import submission
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import EntryState

KILLS = 10
WINDOW_SECONDS = 4.0
SCENES = {"last_frame": 3, "edit": 2, "cut": 2, "multi_shot": 2}
BOARD = Storyboard.model_validate(
    {
        "title": "Killed",
        "defaults": {"duration": 3},
        "scenes": [
            {
                "title": name,
                "continuity": name,
                "shots": [{"prompt": f"{name} {n}"} for n in range(shots)],
            }
            for name, shots in SCENES.items()
        ],
    }
)

# For each line that is read, one more process makes the film. All are forked from one that has
# imported everything.
# One thing differs from a user's run: a sender counts as dead after seconds instead of minutes.
NEST = f"""
import asyncio, os, sys
from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import produce_film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money import submission

submission.sender_window = lambda *_: {2 * WINDOW_SECONDS}
board = Storyboard.model_validate_json(sys.argv[1])
for _ in sys.stdin:
    if (child := os.fork()) == 0:
        credentials = KlingCredentials.load("killed-film")
        archive = KlingArchive.load("killed-film")
        print(os.getpid(), flush=True)
        asyncio.run(produce_film(board, credentials, archive))
        os._exit(0)
    print(os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Sandbox]:
    """An API whose clips are the same bytes whenever they are made."""
    settings = SandboxSettings(
        render_seconds=(0.5, 1.5), short_side=180, folder=tmp_path / "api", stamp_job_id=False
    )
    with Sandbox(settings) as sandbox:
        yield sandbox


@pytest.fixture
def access(api: Sandbox) -> KlingCredentials:
    """Access to it."""
    return KlingCredentials(
        api_key=SecretStr(api.key),
        base_url=api.base_url,
        first_poll_seconds=0.1,
        longest_poll_seconds=0.3,
        create_seconds=WINDOW_SECONDS,
    )


@pytest.mark.slow
def test_a_film_survives_ten_kills(
    prefect_ui: str,
    s3: LocalS3,
    api: Sandbox,
    access: KlingCredentials,
    archive_block: KlingArchive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After ten kills at random moments the film is that of an undisturbed run, paid once."""
    monkeypatch.setattr(submission, "sender_window", lambda *_: 2 * WINDOW_SECONDS)
    undisturbed = asyncio.run(
        produce_film(BOARD, access, local_archive(s3, prefix=f"{archive_block.prefix}-calm"))
    )
    calm = Counter(str(job["body"]["prompt"]) for job in api.jobs())
    access.save("killed-film", overwrite=True)
    archive_block.save("killed-film", overwrite=True)
    moments = random.Random(4)
    with _nest(prefect_ui) as nest:
        kills = sum(_killed(nest, moments.uniform(0.2, 1.6)) for _ in range(KILLS))
    film = asyncio.run(_finish(access, archive_block, api))
    assert kills >= KILLS - 2, "most of the shots must hit a running film"
    assert film.sha256 == undisturbed.sha256
    assert [clip.clip.sha256 for clip in film.clips] == [
        clip.clip.sha256 for clip in undisturbed.clips
    ]
    again = Counter(str(job["body"]["prompt"]) for job in api.jobs()) - calm
    assert again == calm, "each clip was paid once more, for the second archive, and only once"


@contextmanager
def _nest(prefect_ui: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that has imported everything and forks one for each run of the film."""
    surroundings = os.environ | {
        "PREFECT_API_URL": f"{prefect_ui}/api",
        "PREFECT_LOGGING_LEVEL": "ERROR",
    }
    command = [sys.executable, "-c", NEST, BOARD.model_dump_json()]
    with subprocess.Popen(command, env=surroundings, stdin=PIPE, stdout=PIPE, bufsize=0) as nest:
        yield nest


def _killed(nest: "subprocess.Popen[bytes]", seconds: float) -> bool:
    """Shoot a run so many seconds after it began; False when it was faster."""
    assert nest.stdin is not None
    assert nest.stdout is not None
    nest.stdin.write(b"\n")
    run = int(nest.stdout.readline())
    if not select.select([nest.stdout], [], [], seconds)[0]:
        os.kill(run, signal.SIGKILL)
    return int(nest.stdout.readline()) != 0


async def _finish(access: KlingCredentials, archive: KlingArchive, api: Sandbox) -> Film:
    """Run to the end, deciding about held clips as a person would: by the account's jobs."""
    while True:
        try:
            return await produce_film(BOARD, access, archive)
        except FilmIncomplete:
            held = _decide(archive.get_archive(), api)
            assert held, "only a held clip may stop the film"


def _decide(archive: Archive, api: Sandbox) -> int:
    """Adopt the job of every held clip, or release the clip when there is none."""
    held = [page for key in archive.ledger.all_keys("") if (page := archive.ledger.read(key))]
    held = [page for page in held if page.entry.state is EntryState.HELD]
    taken = {
        page.entry.job_id
        for key in archive.ledger.all_keys("")
        if (page := archive.ledger.read(key))
    }
    for page in held:
        prompt = page.entry.order.request.body()["prompt"]
        # Without a stamp equal requests differ only in their order: the calm film's came first.
        mine = [str(job["id"]) for job in api.jobs() if job["body"]["prompt"] == prompt][1:]
        lost = [job for job in mine if job not in taken]
        if lost:
            archive.ledger.adopt(page, lost[0], "the test")
        else:
            archive.ledger.release(page, "no such job")
    return len(held)
