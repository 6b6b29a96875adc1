"""What a film will still cost: looked up clip by clip, and never guessed."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from prefect_kling.studio.errors import LedgerUnreadable, StorageUnavailable
from prefect_kling.studio.film.plan import FilmPlan
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import FilmQuote, quote_film
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import ClaimRequest, EntryState, Ledger, VersionedEntry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.standing import Standing

FIVE_SECONDS = Decimal("0.3165")


def plan(*scenes: dict[str, Any]) -> FilmPlan:
    """Plan a film of these scenes."""
    return plan_film(Storyboard.model_validate({"title": "T", "scenes": [*scenes]}))


def scene(*prompts: str, **said: Any) -> dict[str, Any]:
    """A scene of shots that are only prompts."""
    return {"shots": [{"prompt": prompt} for prompt in prompts], **said}


def claimed(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """Nothing is sent yet."""
    return ledger.claim(order, ClaimRequest(Decimal(1)))


def submitted(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """The job is made."""
    return ledger.submitted(claimed(ledger, order), "c1")


def archived(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """The video is safe."""
    return ledger.archived(submitted(ledger, order), "s3://x", FIVE_SECONDS)


def held(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """The answer was lost."""
    return ledger.hold(claimed(ledger, order), "lost answer")


def released(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """The API refused."""
    return ledger.release(claimed(ledger, order), "refused")


def failed(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """The job ended without a video."""
    return ledger.failed(submitted(ledger, order), "moderation", retryable=False)


def failed_in_passing(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """The API failed it for a reason that may be gone by now."""
    return ledger.failed(submitted(ledger, order), "UPSTREAM_BUSY", retryable=True)


def adopted(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """Somebody found the job of a held clip."""
    return ledger.adopt(held(ledger, order), "c1", "a person")


def tried_again(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """A passing failure, and the next attempt is under way."""
    version = ledger.failed(submitted(ledger, order), "UPSTREAM_BUSY", retryable=True)
    return ledger.claim(order, ClaimRequest(FIVE_SECONDS, read_version=version.etag))


def sending(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """The request may have left."""
    return ledger.mark_sending(claimed(ledger, order))


def sent_by_an_older_version(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """What versions before 0.3 wrote before they sent."""
    version = claimed(ledger, order)
    old = version.entry.model_copy(update={"state": EntryState.INTENT})
    path = f"ledger/jobs/{order.clip_key}.json"
    ledger.bucket.replace(path, old.model_dump_json().encode(), version.etag)
    return version


def given_up(ledger: Ledger, order: ClipOrder) -> VersionedEntry:
    """A person waits no longer."""
    return ledger.give_up(held(ledger, order), "given up", FIVE_SECONDS)


@pytest.mark.parametrize(
    ("happened", "standing", "to_pay"),
    [
        (None, Standing.TO_PAY, True),
        (claimed, Standing.BEING_SENT, False),
        (sending, Standing.BEING_SENT, False),
        (sent_by_an_older_version, Standing.BEING_SENT, False),
        (given_up, Standing.GIVEN_UP, False),
        (submitted, Standing.UNDER_WAY, False),
        (adopted, Standing.UNDER_WAY, False),
        (tried_again, Standing.BEING_SENT, False),
        (archived, Standing.ARCHIVED, False),
        (held, Standing.HELD, False),
        (released, Standing.TO_PAY, True),
        (failed, Standing.FAILED, False),
        (failed_in_passing, Standing.TO_PAY, True),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
async def test_a_clip_stands_where_its_record_says(
    archive: Archive,
    happened: Callable[[Ledger, ClipOrder], VersionedEntry] | None,
    standing: Standing,
    to_pay: bool,
) -> None:
    """Only what was never sent, was refused, or failed in passing is still to be paid."""
    film = plan(scene("A"))
    if happened:
        happened(archive.ledger, film.clips[0].order)
    quote = await quote_film(film, archive)
    assert quote.standings == {film.clips[0].clip_key: standing}
    assert quote.usd == (FIVE_SECONDS if to_pay else 0)
    assert quote.at_most_usd == quote.usd


def test_every_state_of_the_ledger_was_thought_of() -> None:
    """A new state must be given a standing, and a line in the test above."""
    assert {state.value for state in EntryState} == {
        "claimed",
        "sending",
        "intent",
        "submitted",
        "held",
        "released",
        "failed",
        "given_up",
        "archived",
    }


async def test_only_what_is_to_be_paid_is_summed_up(archive: Archive) -> None:
    """Expected and worst price of unpaid clips; an edit is at worst as long as can be."""
    film = plan(scene("A", "B", "C", "D"), scene("E", "F", continuity="edit", duration=4))
    for clip, happened in zip(film.clips, (archived, submitted, held), strict=False):
        happened(archive.ledger, clip.order)
    quote = await quote_film(film, archive)
    told = {standing: quote.count(standing) for standing in Standing}
    assert {each: count for each, count in told.items() if count} == {
        Standing.ARCHIVED: 1,
        Standing.UNDER_WAY: 1,
        Standing.HELD: 1,
        Standing.TO_PAY: 3,
    }
    assert quote.usd == Decimal("0.0633") * (5 + 4 + 4)
    assert quote.at_most_usd == Decimal("0.0633") * (5 + 4) + Decimal("0.0853") * 10


async def test_shots_that_are_alike_are_counted_once(archive: Archive) -> None:
    """Within a scene, across scenes, and by their standing too."""
    film = plan(scene("A", "A", "B"), scene("B", "A"))
    quote = await quote_film(film, archive)
    assert (len(quote.standings), quote.usd) == (2, 2 * FIVE_SECONDS)
    archived(archive.ledger, film.clips[0].order)
    quote = await quote_film(film, archive)
    assert (quote.count(Standing.ARCHIVED), quote.count(Standing.TO_PAY)) == (1, 1)
    assert quote.usd == FIVE_SECONDS


async def test_a_shot_that_is_not_shown_is_paid_like_any_other(archive: Archive) -> None:
    """It is made for the one that continues from it."""
    shots = [{"prompt": "A", "shown": False}, {"prompt": "B"}]
    quote = await quote_film(plan({"shots": shots, "continuity": "last_frame"}), archive)
    assert quote.usd == 2 * FIVE_SECONDS


async def test_a_changed_shot_is_to_be_paid_with_what_follows_from_it(archive: Archive) -> None:
    """After one prompt is changed, its chain from there on is to be paid, nothing else."""
    for clip in plan(scene("A", "B", "C", continuity="last_frame"), scene("D")).clips:
        archived(archive.ledger, clip.order)
    changed = plan(scene("A", "X", "C", continuity="last_frame"), scene("D"))
    quote = await quote_film(changed, archive)
    assert [quote.standings[clip.clip_key] for clip in changed.clips] == [
        Standing.ARCHIVED,
        Standing.TO_PAY,
        Standing.TO_PAY,
        Standing.ARCHIVED,
    ]


async def test_one_scene_can_be_quoted_alone(archive: Archive) -> None:
    """Other scenes are not looked up and not summed up."""
    quote = await quote_film(plan(scene("A"), scene("B", "C")).only(2), archive)
    assert (len(quote.standings), quote.usd) == (2, 2 * FIVE_SECONDS)


async def test_without_an_archive_everything_is_to_be_paid() -> None:
    """That is what a film costs from nothing, and no store is asked."""
    film = plan(scene("A", "A", "B"))
    quote = await quote_film(film, None)
    assert (set(quote.standings.values()), quote.usd) == ({Standing.TO_PAY}, film.usd)


async def test_quoting_writes_nothing(archive: Archive) -> None:
    """A look is free, however often."""
    film = plan(scene("A", "B"))
    assert await quote_film(film, archive) == await quote_film(film, archive)
    assert list(archive.bucket.names("")) == []


@pytest.mark.parametrize("broken", [b"", b"{}", b"not json"], ids=["empty", "other", "garbage"])
async def test_an_unreadable_record_stops_the_quote(archive: Archive, broken: bytes) -> None:
    """A clip that may be paid is not called unpaid; the record is named."""
    film = plan(scene("A", "B"))
    key = film.clips[1].clip_key
    archive.bucket.put(f"ledger/jobs/{key}.json", broken, "application/json")
    with pytest.raises(LedgerUnreadable, match=key):
        await quote_film(film, archive)


async def test_a_store_that_does_not_answer_stops_the_quote(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silence is no sign that nothing was paid."""

    def silent(path: str) -> None:
        raise StorageUnavailable("the store did not answer")

    monkeypatch.setattr(archive.bucket, "read", silent)
    with pytest.raises(StorageUnavailable):
        await quote_film(plan(scene("A")), archive)


async def test_a_quote_can_be_stored(archive: Archive) -> None:
    """What a person approves may be written down and read back."""
    quote = await quote_film(plan(scene("A", "B", continuity="last_frame")), archive)
    assert FilmQuote.model_validate_json(quote.model_dump_json()) == quote


@pytest.mark.parametrize("happened", [claimed, held, tried_again])
async def test_what_would_be_sent_again_is_to_be_paid(
    archive: Archive, happened: Callable[[Ledger, ClipOrder], VersionedEntry]
) -> None:
    """Who chooses to send again when an answer was lost is quoted the second payment too."""
    film = plan(scene("A"))
    happened(archive.ledger, film.clips[0].order)
    assert (await quote_film(film, archive)).at_most_usd == 0
    assert (await quote_film(film, archive, resubmit=True)).at_most_usd == FIVE_SECONDS
