"""The ledger: one record per clip, changed only by who read it last, never guessed at."""

from decimal import Decimal

import pytest

from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import LedgerMoved, LedgerUnreadable
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import ClaimRequest, EntryState, Ledger, VersionedEntry
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage.bucket import Bucket

ORDER = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt="Dawn"))
USD = Decimal("0.3165")


@pytest.fixture
def ledger(archive: Archive) -> Ledger:
    """An empty ledger."""
    return archive.ledger


def claim(ledger: Ledger, max_attempts: int = 3) -> VersionedEntry:
    """Claim the test's one order, as somebody who has read the jobs of earlier attempts."""
    seen = ledger.read(ORDER.clip_key)
    read_version = "" if seen is None else seen.etag
    wanted = ClaimRequest(USD, max_attempts=max_attempts, read_version=read_version)
    return ledger.claim(ORDER, wanted)


def markers(bucket: Bucket) -> list[str]:
    """The index beside the records."""
    return [name for name in bucket.names("ledger/") if not name.startswith("ledger/jobs/")]


def test_only_the_first_claim_is_mine(ledger: Ledger) -> None:
    """The second caller sees the first one's claim and may not send."""
    assert claim(ledger).is_mine
    second = claim(ledger)
    assert not second.is_mine
    assert second.entry.state is EntryState.CLAIMED


def test_a_record_says_what_was_frozen_and_who_did_it(ledger: Ledger) -> None:
    """Order, worst price, process and history are written before any money is spent."""
    claim(ledger)
    page = ledger.read(ORDER.clip_key)
    assert page is not None
    assert (page.entry.order, page.entry.at_most_usd) == (ORDER, USD)
    assert ":" in page.entry.by
    assert [event.state for event in page.entry.history] == [EntryState.CLAIMED]


def test_the_life_of_a_paid_clip_leaves_no_markers(ledger: Ledger, bucket: Bucket) -> None:
    """Claimed, sending, submitted, archived; its marker stands while the clip is open."""
    page = claim(ledger)
    open_marker = f"ledger/open/{ORDER.clip_key}.{page.entry.claim[:8]}"
    assert markers(bucket) == [open_marker]
    page = ledger.submitted(ledger.mark_sending(page), "c1")
    assert markers(bucket) == [open_marker]
    closed = [ledger.archived(page, "s3://x", USD) for _ in range(2)]
    assert [each.is_mine for each in closed] == [True, False], "one caller has closed it"
    assert markers(bucket) == []
    page = closed[0]
    states = [event.state for event in page.entry.history]
    assert states == ["claimed", "sending", "submitted", "archived"]
    assert not claim(ledger).is_mine, "an archived clip is never claimed again"


def test_a_released_record_can_be_claimed_again(ledger: Ledger) -> None:
    """Nothing was paid, so the same attempt may be made again, by one caller."""
    ledger.release(claim(ledger), "refused")
    again = claim(ledger)
    assert again.is_mine
    assert again.entry.attempt == 1
    assert not claim(ledger).is_mine


def test_a_record_does_not_grow_for_ever(ledger: Ledger) -> None:
    """A clip that is queued for long keeps the latest steps of its history."""
    for _ in range(30):
        page = ledger.release(claim(ledger), "busy")
    assert len(page.entry.history) == 50


def test_a_held_record_is_never_claimed(ledger: Ledger, bucket: Bucket) -> None:
    """An unknown outcome stays as it is and is listed."""
    page = ledger.hold(claim(ledger), "lost answer")
    assert not claim(ledger).is_mine
    assert f"ledger/held/{ORDER.clip_key}.{page.entry.claim[:8]}" in markers(bucket)


def test_a_failed_job_gets_new_attempts_while_it_is_worth_it(ledger: Ledger) -> None:
    """A passing failure is claimed with the next attempt number; a final one never."""
    page = claim(ledger)
    for attempt in (2, 3):
        ledger.failed(ledger.submitted(page, f"c{attempt}"), "UPSTREAM_BUSY", retryable=True)
        page = claim(ledger)
        assert page.is_mine
        assert (page.entry.attempt, page.entry.job_id) == (attempt, None)
    ledger.failed(ledger.submitted(page, "c4"), "UPSTREAM_BUSY", retryable=True)
    assert not claim(ledger).is_mine, "three attempts are enough"


def test_a_failed_job_is_followed_by_another_only_after_it_was_read_once_more(
    ledger: Ledger,
) -> None:
    """Whoever claims a failed record names the version whose jobs were read."""
    ledger.failed(ledger.submitted(claim(ledger), "c1"), "UPSTREAM_BUSY", retryable=True)
    assert not ledger.claim(ORDER, ClaimRequest(USD)).is_mine
    assert not ledger.claim(ORDER, ClaimRequest(USD, read_version='"older"')).is_mine
    again = claim(ledger)
    assert again.is_mine
    assert [(each.job_id, each.state) for each in again.entry.attempts] == [("c1", "failed")]


def test_only_what_is_claimed_is_released_for_others(ledger: Ledger) -> None:
    """A dead claim is given back; a record that is sending, or has changed, is not."""
    claimed = claim(ledger)
    sending = ledger.mark_sending(claimed)
    for version in (claimed, sending):
        with pytest.raises(LedgerMoved):
            ledger.release_dead_claim(version, "vanished")
    ledger.give_back(sending, "refused")
    second = claim(ledger)
    assert ledger.release_dead_claim(second, "vanished").entry.state is EntryState.RELEASED
    with pytest.raises(LedgerMoved):
        ledger.mark_sending(second)


def test_a_final_failure_is_final(ledger: Ledger) -> None:
    """Moderation is not tried again."""
    ledger.failed(ledger.submitted(claim(ledger), "c1"), "CONTENT_MODERATION", retryable=False)
    assert not claim(ledger).is_mine


def test_a_stale_page_changes_nothing(ledger: Ledger) -> None:
    """Who has not read the latest version may not decide."""
    stale = claim(ledger)
    ledger.hold(stale, "lost answer")
    with pytest.raises(LedgerMoved):
        ledger.release(stale, "refused")


def test_a_sender_that_was_called_dead_still_names_its_job(ledger: Ledger) -> None:
    """A hold by others gives way to the claim's own sender, and to nobody else."""
    page = claim(ledger)
    seen = ledger.read(ORDER.clip_key)
    assert seen is not None
    ledger.hold(seen, "vanished")
    assert ledger.submitted(page, "c1").entry.state is EntryState.SUBMITTED
    released = ledger.release(ledger.submitted(page, "c1"), "a person says so")
    assert released.entry.state is EntryState.RELEASED
    claim(ledger)
    with pytest.raises(LedgerMoved):
        ledger.submitted(page, "c1")


def test_a_late_id_is_added_whatever_the_record_says(ledger: Ledger) -> None:
    """It keeps a released clip from being paid for once more, and sweeps see it; once only."""
    first = claim(ledger)
    ledger.release(ledger.hold(first, "vanished"), "released by a person")
    ledger.release(claim(ledger), "busy")
    for _ in range(2):
        ledger.add_late_job(first.entry, "c1")
    found = ledger.read(ORDER.clip_key)
    assert found is not None
    assert (found.entry.state, found.entry.named_job_id) == (EntryState.HELD, "c1")
    assert [late.claim for late in found.entry.late_jobs] == [first.entry.claim]
    for markers in (ledger.open_markers(), ledger.held_markers()):
        assert [marker.clip_key for marker in markers] == [ORDER.clip_key]
    assert not claim(ledger).is_mine
    again = ledger.claim(ORDER, ClaimRequest(USD, resubmit_unknown=True))
    assert not again.is_mine


def test_a_refusal_after_a_resubmission_does_not_call_the_clip_unpaid(ledger: Ledger) -> None:
    """The first request may be paid whatever became of the second: nothing is sent."""
    ledger.hold(claim(ledger), "lost answer")
    again = ledger.claim(ORDER, ClaimRequest(USD, resubmit_unknown=True))
    assert again.is_mine
    assert ledger.give_back(again, "busy").entry.state is EntryState.HELD
    assert not claim(ledger).is_mine


def test_an_adopted_job_does_not_drop_the_one_that_an_answer_named(ledger: Ledger) -> None:
    """Both may be paid, so both stay in the record."""
    held = ledger.hold(claim(ledger), "refused, and names a job", "c7")
    adopted = ledger.adopt(held, "c9", "a person")
    assert adopted.entry.named_job_ids == ("c9", "c7")


def test_an_id_added_meanwhile_does_not_stop_the_sender(ledger: Ledger) -> None:
    """The sender's own job is written all the same, and the late one stays."""
    first = claim(ledger)
    ledger.release(ledger.hold(first, "vanished"), "released by a person")
    second = claim(ledger)
    ledger.add_late_job(first.entry, "c1")
    noted = ledger.submitted(second, "c2")
    assert (noted.entry.state, noted.entry.named_job_ids) == (EntryState.SUBMITTED, ("c2", "c1"))
    failed = ledger.failed(noted, "UPSTREAM_BUSY", retryable=True)
    assert (failed.entry.state, failed.entry.named_job_id) == (EntryState.HELD, "c1")


def test_two_who_note_the_same_thing_agree(ledger: Ledger) -> None:
    """Noting what is already noted is no conflict."""
    page = claim(ledger)
    ledger.submitted(page, "c1")
    assert ledger.submitted(page, "c1").entry.job_id == "c1"
    with pytest.raises(LedgerMoved):
        ledger.submitted(page, "c2")


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b'{"version": 1, "state": "intent"}'])
def test_an_unreadable_record_is_an_error_never_empty(
    ledger: Ledger, bucket: Bucket, body: bytes
) -> None:
    """Money is not spent past a record nobody understands."""
    bucket.put(f"ledger/jobs/{ORDER.clip_key}.json", body, "application/json")
    with pytest.raises(LedgerUnreadable, match="cannot be read"):
        claim(ledger)
