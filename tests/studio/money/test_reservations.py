"""Money of ended claims is freed, and never that of a job which is paid after all."""

from decimal import Decimal

import pytest

from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.budget import Budget, FilmCap, find_reservation
from prefect_kling.studio.money.ledger import ClaimRequest
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reservations import set_aside_for, settle_ended_claims


def test_a_late_id_between_looking_and_freeing_keeps_its_money(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sender finds its money still set aside and restores nothing; then it is freed."""
    prompt = f"Late {archive.bucket.prefix}"
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))
    cap = FilmCap("a film", Decimal(5))
    claimed = archive.ledger.claim(order, ClaimRequest(at_most_usd=Decimal(1)))
    archive.budget.reserve(claimed.entry, cap)
    sending = archive.ledger.mark_sending(claimed)
    held = archive.ledger.hold(sending, "its sender seems to be dead")
    # A person says that it was not taken; the process ends before it frees the money.
    archive.ledger.release(held, "somebody")

    settle = Budget.settle_claim

    def sender_comes_first(budget: Budget, key: str, claim: str, usd: Decimal) -> bool:
        noted = archive.ledger.submitted(sending, "a-paid-job")
        archive.budget.restore(noted.entry, cap)
        return settle(budget, key, claim, usd)

    with monkeypatch.context() as patches:
        patches.setattr(Budget, "settle_claim", sender_comes_first)
        settle_ended_claims(archive, order.clip_key)
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert accounts.committed() == Decimal(1)


def test_money_of_a_busy_request_is_freed_although_an_earlier_one_may_be_paid(
    archive: Archive,
) -> None:
    """Its process ended before it freed the money; the record lists every claim that may cost."""
    prompt = f"Busy {archive.bucket.prefix}"
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))
    cap = FilmCap("a film", Decimal(5))
    first = archive.ledger.claim(order, ClaimRequest(at_most_usd=Decimal(1)))
    archive.budget.reserve(first.entry, cap)
    archive.ledger.hold(archive.ledger.mark_sending(first), "the answer was lost")
    chosen = ClaimRequest(at_most_usd=Decimal(1), resubmit_unknown=True)
    for _ in range(2):
        again = archive.ledger.claim(order, chosen)
        assert again.is_mine
        archive.budget.reserve(again.entry, cap)
        archive.ledger.give_back(again, "busy")
    settle_ended_claims(archive, order.clip_key)
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert accounts.committed() == Decimal(1)


@pytest.mark.parametrize(("named", "pays"), [(None, "first"), ("another", "another")])
def test_money_that_is_set_aside_again_counts_for_its_film(
    named: str | None, pays: str, archive: Archive
) -> None:
    """For that of the latest request, unless another one is named: a film's budget holds."""
    prompt = f"Again {named} {archive.bucket.prefix}"
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3))
    claimed = archive.ledger.claim(order, ClaimRequest(at_most_usd=Decimal(1), film="first"))
    archive.budget.reserve(claimed.entry, FilmCap("first", Decimal(5)))
    claim = claimed.entry.claim
    archive.budget.settle_claim(order.clip_key, claim, Decimal(0))
    set_aside_for(claimed, claim, Decimal(1), archive, film=named)
    accounts = archive.budget.accounts()
    assert accounts is not None
    name = find_reservation(accounts, order.clip_key, claim)
    assert name is not None
    assert accounts.reserved[name].film == pays
