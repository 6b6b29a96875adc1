"""`prefect-kling ledger audit`: the account's books, and what they prove of held clips."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated

from cyclopts import Parameter

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.load import load_block
from prefect_kling.deployments.cli.documents import Audited, LedgerLine
from prefect_kling.deployments.cli.terminal import AsJson, print_json, say
from prefect_kling.studio.money.audit import Audit, act, audit
from prefect_kling.studio.money.books import Books, Decision, Obstacle, Reading
from prefect_kling.studio.money.record import Entry

PRECISION = Decimal("0.0001")
SENTENCES = {
    Obstacle.OTHER_ACCOUNT: "the readings are of two APIs or accounts",
    Obstacle.NOT_IN_USD: "the account is not kept in US dollars",
    Obstacle.OUT_OF_ORDER: "the readings are not in order",
    Obstacle.UNSTEADY: "the account changed while it was read; audit again",
    Obstacle.LEDGER_MOVED: (
        "the ledger changed while the account was read; audit again when no run sends"
    ),
    Obstacle.BEING_SENT: "a clip was being sent; audit again when no run sends",
    Obstacle.NO_TOTAL: "the API does not tell total and frozen money, or the sums differ",
    Obstacle.NO_WITNESS: "no known job was running, so nothing shows that the API freezes money; "
    "audit while one is",
    Obstacle.FROZEN_DIFFERS: "what is frozen is not the price of the known running jobs",
    Obstacle.NOT_SETTLED: "a job is not settled by the API's records",
    Obstacle.JUST_CHARGED: "a job was charged less than an hour before; audit again later",
    Obstacle.OFF_TABLE: "a job was charged another price than the table's",
    Obstacle.AGE_UNKNOWN: "it is not known when a job was sent or charged",
    Obstacle.JOB_VANISHED: "the ledger has lost a job since the first reading",
    Obstacle.TOP_UP_UNKNOWN: "it is not said what was put on the account since; name it with "
    "--topped-up, 0 if nothing",
    Obstacle.TOTAL_GREW: "the account grew by more than was said",
    Obstacle.LESS_THAN_NOTHING: "the account has more than it should",
    Obstacle.BETWEEN: (
        "the unexplained money is the price of some held clips, and does not say of which"
    ),
}
VERDICTS = {
    "unpaid": "was not taken and costs nothing: prefect-kling ledger release {key}",
    "paid": "was taken and paid, unless somebody else spent that much or a price was off; it stays "
    "held: look for its job, then prefect-kling ledger adopt {key} JOB_ID",
}


class NotOursAlone(RuntimeError):
    """The account is not declared to be this archive's alone."""


def audit_account(
    *,
    topped_up: str | None = None,
    decide: Annotated[bool, Parameter(negative="")] = False,
    archive: str = "default",
    credentials: str = "default",
    as_json: AsJson = False,
) -> int:
    """Compare balance and charges with the ledger, and say what that proves of held clips.

    Free. The reading is kept in the archive. Run it once a day while a job is running: held clips
    are judged by a reading before they were sent and one a day later. The exit code is 1 if the
    accounts do not agree.

    Args:
        topped_up: What was put on the account since, in USD; 0 if nothing. Without it nothing is
            proven.
        decide: Release what was proven not to be taken; it may then be sent, and paid, again. Needs
            `account_is_ours_alone` in the KlingCredentials block.
        archive: Name of the KlingArchive block.
        credentials: Name of the KlingCredentials block.
        as_json: Print JSON.
    """
    said = None
    if topped_up is not None:
        said = _usd(topped_up)
    return asyncio.run(_audit(said, archive, credentials, is_deciding=decide, as_json=as_json))


def _usd(text: str) -> Decimal:
    try:
        usd = Decimal(text)
    except ArithmeticError:
        raise ValueError(
            f"--topped-up is an amount in USD, such as 50 or 0, not {text!r}"
        ) from None
    if not usd.is_finite() or usd < 0:
        raise ValueError(f"--topped-up is an amount in USD from 0 up, not {text!r}")
    return usd


async def _audit(
    topped_up: Decimal | None,
    archive_name: str,
    credentials_name: str,
    *,
    is_deciding: bool,
    as_json: bool,
) -> int:
    block = await load_block(KlingCredentials, credentials_name)
    if is_deciding and not block.account_is_ours_alone:
        raise NotOursAlone(
            "nothing is decided: the KlingCredentials block does not say that the account is ours "
            "alone. Where nobody else spends its money, set account_is_ours_alone there"
        )
    archive = (await load_block(KlingArchive, archive_name)).get_archive()
    async with block.get_client() as client:
        found = await audit(archive, client, topped_up)
        released: tuple[str, ...] = ()
        if is_deciding:
            released = await act(found.proven, found.reading, archive)
    if as_json:
        print_json(_document(found, released))
    else:
        for text in lines(found, released):
            say(text)
    return 0 if agrees(found) else 1


def _document(found: Audit, released: tuple[str, ...]) -> Audited:
    unexplained = None
    if found.since_last is not None:
        unexplained = found.since_last.unexplained_usd
    return Audited(
        agrees=agrees(found),
        balance=found.reading.balance,
        total=found.reading.total,
        frozen=found.reading.frozen,
        currency=found.reading.currency,
        unexplained_usd=unexplained,
        held=tuple(LedgerLine.of(entry) for entry in found.held),
        proven={each.clip_key: each.verdict for each in found.proven},
        released=released,
    )


def agrees(found: Audit) -> bool:
    """Whether ledger and account agree to the last digit."""
    reading = found.reading
    if reading.misbooked or not reading.is_whole or reading.frozen != reading.running_usd:
        return False
    return found.since_last is None or found.since_last.unexplained_usd == 0


def lines(found: Audit, released: tuple[str, ...]) -> Iterator[str]:
    """Tell an audit to a person."""
    reading = found.reading
    yield from _account(reading)
    if found.since_last is None:
        yield "since the last audit: this is the first one of this archive"
    else:
        yield (
            f"since {found.since_last.first.at:%Y-%m-%d %H:%M} UTC: "
            f"{_unexplained(found.since_last)}"
        )
    yield "the accounts agree" if agrees(found) else "the accounts do not agree"
    proven = {each.clip_key: each for each in found.proven}
    for entry in found.held:
        yield _held(entry, proven, released)
    if len(found.held) > len(found.proven):
        yield from _why_not(found)


def _account(reading: Reading) -> Iterator[str]:
    running = "not exactly known" if reading.running_usd is None else f"${reading.running_usd}"
    yield f"account: total {reading.total} {reading.currency}, free {reading.balance}"
    yield f"frozen: ${reading.frozen}; {len(reading.running)} known running jobs cost {running}"
    settled = [job for job in reading.jobs if job.charged_usd is not None]
    booked = sum((job.booked_usd or Decimal(0) for job in settled), Decimal(0))
    yield (
        f"spent: ${reading.charged_usd} by the API's records of {len(settled)} jobs, ${booked} "
        "by the ledger"
    )
    unsettled = len(reading.jobs) - len(settled) - len(reading.running)
    if unsettled:
        yield f"not settled by the API's records: {unsettled} jobs"
    for job in reading.misbooked:
        yield (
            f"clip {job.clip_key}: job {job.job_id} cost ${job.charged_usd}, the ledger says "
            f"${job.booked_usd}"
        )


def _unexplained(books: Books) -> str:
    if books.unexplained_usd is None:
        return "the account tells no total"
    if books.unexplained_usd == 0:
        return "every cent is explained"
    amount = books.unexplained_usd.quantize(PRECISION)
    return f"${amount} left the account that no known job explains"


def _held(entry: Entry, proven: dict[str, Decision], released: tuple[str, ...]) -> str:
    key = entry.clip_key
    sent = "at an unknown time"
    if entry.sent_at is not None:
        sent = f"{entry.sent_at:%Y-%m-%d %H:%M} UTC"
    beginning = f"held clip {key}, sent {sent}, at most ${entry.at_most_usd}"
    decision = proven.get(key)
    if decision is None:
        return f"{beginning}: not decided by the books; prefect-kling ledger show {key}"
    if key in released:
        return f"{beginning}: by the books it was not taken; it is released"
    return f"{beginning}: by the books it {VERDICTS[decision.verdict].format(key=key)}"


def _why_not(found: Audit) -> Iterator[str]:
    if found.since_held is None:
        yield "→ held clips cannot be judged: no audit was made before they were sent"
        return
    yield f"judged by the audits from {found.since_held.first.at:%Y-%m-%d %H:%M} UTC on:"
    if found.since_held.unexplained_usd is not None:
        unknown = found.since_held.unknown_usd
        price = "not exactly known" if unknown is None else f"${unknown}"
        yield (
            f"→ unexplained ${found.since_held.unexplained_usd}; all requests in doubt cost {price}"
        )
    for obstacle in found.since_held.obstacles:
        yield f"→ {SENTENCES[obstacle]}"
    if not found.since_held.obstacles:
        yield (
            "→ what is left is younger than a day, was not reported by its sender to have ended, "
            "names a job, or was sent after the job that is running"
        )
