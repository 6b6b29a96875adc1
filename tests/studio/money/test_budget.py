"""Caps hold across processes, money moves once, and an archive without a cap keeps no accounts."""

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.errors import LedgerUnreadable, OverBudget
from prefect_kling.studio.money.budget import Budget, FilmCap
from prefect_kling.studio.money.ledger import ClaimRequest, Entry, EntryState, Ledger
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage.bucket import Bucket

USD = Decimal("0.30")
CAP = Decimal(1)


def intent(name: str, claim: str = "c") -> Entry:
    """A claimed clip of this name that may cost 30 cents."""
    order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=name))
    return Entry(
        clip_key=order.clip_key,
        state=EntryState.INTENT,
        order=order,
        at_most_usd=USD,
        claim=claim,
        by="test",
    )


@pytest.fixture
def budget(bucket: Bucket) -> Budget:
    """A cap of one dollar."""
    return Budget(bucket, CAP)


def test_an_archive_without_a_cap_keeps_no_accounts(bucket: Bucket) -> None:
    """Nobody pays for bookkeeping that was not asked for."""
    free = Budget(bucket)
    free.reserve(intent("a"))
    free.settle(intent("a"), USD)
    assert free.accounts() is None


def test_the_first_cap_counts_what_each_film_has_cost_before(bucket: Bucket) -> None:
    """What is under way then is not counted; the archive's own cap counts from then on."""
    ledger = Ledger(bucket)
    for name, state in [("a", "archived"), ("b", "submitted"), ("c", "released"), ("d", "failed")]:
        order = ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=name))
        claimed = ledger.claim(order, ClaimRequest(USD, film="dawn"))
        if state == "released":
            ledger.give_back(claimed, "busy")
            continue
        sent = ledger.submitted(ledger.mark_sending(claimed), f"job-{name}")
        if state == "archived":
            ledger.archived(sent, "s3://clips/a.mp4", Decimal("0.25"))
        if state == "failed":
            ledger.failed(sent, "moderated", retryable=False)

    capped = Budget(bucket, CAP)
    dawn = FilmCap("dawn", Decimal("0.50"))
    with pytest.raises(OverBudget, match=r"\$0\.25 is spent or set aside"):
        capped.check(USD, dawn)
    accounts = capped.accounts()
    assert accounts is not None
    assert (accounts.committed("dawn"), accounts.spent_usd) == (Decimal("0.25"), Decimal(0))
    capped.check(Decimal("0.70"))


def test_money_set_aside_counts_until_it_is_settled(budget: Budget) -> None:
    """Three clips of 30 cents fit into a dollar, a fourth one only after one was refunded."""
    for name in "abc":
        budget.reserve(intent(name))
    with pytest.raises(
        OverBudget, match=r"\$0\.20 is missing: the archive may cost \$1, \$0\.90 is spent"
    ):
        budget.reserve(intent("d"))
    budget.settle(intent("a"), Decimal(0))
    budget.reserve(intent("d"))


def test_money_moves_once(budget: Budget) -> None:
    """Reserving and settling twice is the same as once; the real charge is what was spent."""
    for _ in range(2):
        budget.reserve(intent("a"))
    for _ in range(2):
        budget.settle(intent("a"), Decimal("0.25"))
    accounts = budget.accounts()
    assert accounts is not None
    assert (accounts.spent_usd, accounts.reserved) == (Decimal("0.25"), {})


def test_an_old_claim_cannot_free_a_new_ones_money(budget: Budget) -> None:
    """Who finishes an old attempt leaves the new attempt's money alone."""
    budget.reserve(intent("a", claim="old"))
    budget.reserve(intent("a", claim="new"))
    budget.settle(intent("a", claim="old"), Decimal(0))
    accounts = budget.accounts()
    assert accounts is not None
    assert accounts.committed() == USD


def test_a_film_has_a_cap_of_its_own(budget: Budget) -> None:
    """One film's cap does not touch another's, and the archive's cap holds for both."""
    small, large = FilmCap("small", Decimal("0.30")), FilmCap("large", Decimal(5))
    budget.reserve(intent("a"), small)
    with pytest.raises(OverBudget, match="the film small may cost"):
        budget.reserve(intent("b"), small)
    budget.reserve(intent("b"), large)
    budget.reserve(intent("c"), large)
    with pytest.raises(OverBudget, match="the archive may cost"):
        budget.reserve(intent("d"), large)
    budget.settle(intent("b"), USD)
    accounts = budget.accounts()
    assert accounts is not None
    assert accounts.spent_on_films_usd == {"large": USD}


def test_what_was_booked_under_a_films_earlier_name_counts(budget: Budget) -> None:
    """And is told, for the name may have been that of other films, too."""
    budget.reserve(intent("a"), FilmCap("1"))
    budget.settle(intent("a"), USD)
    film = FilmCap("1-0a1b2c3d", Decimal("0.50"), "1")
    with pytest.raises(OverBudget, match=r"of earlier versions 1 with \$0\.30"):
        budget.reserve(intent("b"), film)
    budget.reserve(intent("c"), FilmCap("1-ffffffff", Decimal("0.60"), "1"))


def test_racing_reservations_never_pass_the_cap(budget: Budget) -> None:
    """Of sixteen clips at once exactly three get their money."""

    def try_one(number: int) -> bool:
        try:
            budget.reserve(intent(f"clip {number}"))
        except OverBudget:
            return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(try_one, range(16))) == 3
    accounts = budget.accounts()
    assert accounts is not None
    assert accounts.committed() == 3 * USD


def test_a_sum_can_be_checked_without_reserving(budget: Budget) -> None:
    """A film that cannot be finished within its cap is refused as a whole."""
    budget.check(Decimal(1))
    with pytest.raises(OverBudget):
        budget.check(Decimal("1.01"))
    with pytest.raises(OverBudget):
        budget.check(Decimal("0.5"), FilmCap("small", Decimal("0.4")))


def test_unreadable_accounts_stop_the_spending(budget: Budget) -> None:
    """Accounts nobody understands are an error, never empty."""
    budget.bucket.put("ledger/budget.json", b"{broken", "application/json")
    with pytest.raises(LedgerUnreadable):
        budget.reserve(intent("a"))
