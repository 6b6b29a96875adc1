"""Quote a batch: which of its clips are archived, under way, or still to be paid."""

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal

from prefect_kling.studio.batch.frozen import BatchPlan
from prefect_kling.studio.money.ledger import NOTHING, Ledger
from prefect_kling.studio.money.standing import Standing, recorded_keys, standing_of
from prefect_kling.studio.storage.concurrency import map_in_threads


@dataclass(frozen=True)
class BatchQuote:
    """What a batch costs, in US dollars.

    `usd` is the expected price of what is still to be paid, `at_most_usd` its highest price, which
    budgets are checked against.
    """

    plan: BatchPlan
    counts: dict[Standing, int]
    """How many of the different clips are where."""
    usd: Decimal
    at_most_usd: Decimal
    worth_usd: Decimal
    """The expected price of all clips, those that are archived among them."""

    @property
    def clips(self) -> int:
        """How many different clips there are."""
        return len(self.plan.quotes)

    def count(self, standing: Standing) -> int:
        """Return how many clips have this standing."""
        return self.counts.get(standing, 0)


def quote_batch(plan: BatchPlan, ledger: Ledger | None, *, resubmit: bool = False) -> BatchQuote:
    """Look up every clip of a plan. Free, blocking.

    Without a ledger every clip is to be paid. With `resubmit`, held clips, and clips being sent
    whose sender may be dead, count as to be paid: they would be sent and paid again.

    Raises `LedgerUnreadable` or a storage error rather than report a wrong standing.
    """
    standings: dict[str, Standing] = {}
    if ledger is not None:
        recorded = sorted(recorded_keys(plan.quotes, ledger))
        found = map_in_threads(lambda clip_key: standing_of(clip_key, ledger), recorded)
        standings = dict(zip(recorded, found, strict=True))

    counts: Counter[Standing] = Counter()
    usd = NOTHING
    at_most_usd = NOTHING
    worth_usd = NOTHING
    for clip_key, price in plan.quotes.items():
        standing = standings.get(clip_key, Standing.TO_PAY)
        if resubmit and standing in (Standing.HELD, Standing.BEING_SENT):
            standing = Standing.TO_PAY
        counts[standing] += 1
        worth_usd += price.usd
        if standing is Standing.TO_PAY:
            usd += price.usd
            at_most_usd += price.at_most_usd
    return BatchQuote(plan, dict(counts), usd, at_most_usd, worth_usd)
