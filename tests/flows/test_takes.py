"""Films of takes: each paid once; picking is free, and changes only what hangs on it."""

import asyncio
import logging
from decimal import Decimal
from typing import Any

import pytest
from prefect.artifacts import Artifact

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import advance_films, collect_finished, produce_film, submit_film
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import TakesNotPicked
from prefect_kling.studio.film.accounts import report_archive
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.film.takes import keep_pick, read_picks
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.storage import layout

pytestmark = pytest.mark.usefixtures("prefect_ui")
PRICE = Decimal("0.1899")


def board(archive: Archive, shots: int, takes: int, **scene: Any) -> Storyboard:
    """A film of one scene; its shots are of this test only."""
    tag = archive.bucket.prefix.strip("/")
    spoken = [{"prompt": f"{number} {tag}"} for number in range(1, shots + 1)]
    return Storyboard.model_validate(
        {
            "title": f"Takes {tag}",
            "defaults": {"duration": 3, "takes": takes},
            "scenes": [{"shots": spoken} | scene],
        }
    )


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(archive.bucket.prefix.strip("/") in str(job["body"]) for job in sandbox.jobs())


async def wait_until_rendered(sandbox: Sandbox) -> None:
    """Wait until no job of the sandbox is running."""
    while any(job["state"] not in ("completed", "failed") for job in sandbox.jobs()):
        await asyncio.sleep(0.1)


def takes_of(film: Film) -> list[int]:
    """Which take of each shot a film shows."""
    return [each.clip.order.take for each in film.clips]


def pick(film: Storyboard, takes: dict[int, int], archive: Archive) -> None:
    """Pick takes of shots, counted from 1."""
    for number, take in takes.items():
        plan = plan_film(film, read_picks(film, archive))
        keep_pick(plan.used[number - 1], take, plan.slug, archive)


async def test_takes_are_paid_and_picks_are_free(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """3 shots with 2 takes are 6 jobs; other picks cost nothing; a third take of each costs 3."""
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    two = board(archive, shots=3, takes=2)
    first = await produce_film(two, credentials, archive_block)
    assert made(sandbox, archive) == 6
    assert (takes_of(first), first.usd) == ([1] * 3, 3 * PRICE)
    assert [each.chapters[0].name for each in first.clips] == ["1.1", "1.2", "1.3"]
    assert "no take is picked of 1.1, 1.2, 1.3: take 1 counts" in caplog.text
    shown = await Artifact.aget(f"{first.slug}-takes")
    assert shown is not None
    assert str(shown.data).count("data:image/jpeg;base64,") == 3
    assert "take 2 | [Watch](http" in str(shown.data)
    page = await Artifact.aget(first.slug)
    assert page is not None
    assert f"worth ${3 * PRICE}; this run paid ${6 * PRICE}" in str(page.data)
    assert "no take is picked of 1.1" in str(page.data)
    sheets = list(archive.bucket.names(f"{layout.film_cuts(first.slug)}/takes/"))
    assert len(sheets) == 3

    pick(two, {2: 2, 3: 2}, archive)
    second = await produce_film(two, credentials, archive_block)
    assert made(sandbox, archive) == 6
    assert takes_of(second) == [1, 2, 2]
    assert second.film_key != first.film_key
    pick(two, {2: 1, 3: 1}, archive)
    assert await produce_film(two, credentials, archive_block) == first
    unused = report_archive(archive, ("film",)).total.unused_usd
    assert unused == PRICE, "6 takes, of which 3 and 2 others are in a film"

    three = board(archive, shots=3, takes=3)
    assert await produce_film(three, credentials, archive_block) == first
    assert made(sandbox, archive) == 9
    one = board(archive, shots=3, takes=1)
    assert await produce_film(one, credentials, archive_block) == first


@pytest.mark.slow
async def test_in_a_chain_each_shot_waits_for_the_pick_of_the_one_before(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Where nobody can be asked by a form, the run stops there, and goes on when it is picked."""
    film = board(archive, shots=3, takes=2, continuity="last_frame")
    for number, take in ((1, 2), (2, 2), (3, 1)):
        with pytest.raises(TakesNotPicked, match=rf"no take is picked of 1\.{number}: .*deploy"):
            await produce_film(film, credentials, archive_block, picks="ask")
        assert made(sandbox, archive) == 2 * number
        pick(film, {number: take}, archive)
    done = await produce_film(film, credentials, archive_block, picks="ask")
    assert made(sandbox, archive) == 6
    assert takes_of(done) == [2, 2, 1]
    assert [each.made_from for each in done.clips[1:]] == [
        (each.clip.clip_key,) for each in done.clips[:-1]
    ]

    # What hangs on the change is asked anew; what was made from the other pick is kept.
    pick(film, {2: 1}, archive)
    with pytest.raises(TakesNotPicked, match=r"no take is picked of 1\.3: "):
        await produce_film(film, credentials, archive_block, picks="ask")
    assert made(sandbox, archive) == 8
    pick(film, {2: 2}, archive)
    assert await produce_film(film, credentials, archive_block, picks="ask") == done


@pytest.mark.slow
async def test_a_film_that_is_sent_and_left_uses_picks_or_else_take_1(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody is asked: it says so, and a pick that is made before it is joined counts."""
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    film = board(archive, shots=2, takes=2)
    pick(film, {2: 2}, archive)
    step = await submit_film(film, credentials, archive_block)
    assert (len(step.sent), made(sandbox, archive)) == (4, 4)
    caplog.clear()
    await wait_until_rendered(sandbox)
    await collect_finished(credentials, archive_block)
    (done,) = await advance_films(credentials, archive_block)
    assert done.film is not None
    assert takes_of(done.film) == [1, 2]
    assert "no take is picked of 1.1: take 1 counts" in caplog.text
