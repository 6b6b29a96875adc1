"""What may be spent: caps of an archive and of films, held by compare-and-swap.

Money is reserved at its worst-case price after a clip's claim is won and before its request is
sent, under the clip's key *and* the claim that won. Each claim settles its own, so that a crash
cannot leak money and nothing is counted twice. An archive whose cap was never set keeps no accounts
and pays nothing for them. The first cap begins them, with what the ledger says was spent on each
film.
"""

import random
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.errors import OverBudget, StorageUnavailable
from prefect_kling.studio.money.ledger import NOTHING, Entry, Ledger
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket

INSIST_SECONDS = 120.0


@dataclass(frozen=True)
class FilmCap:
    """The most that one film, batch or clip may cost, in US dollars; None only counts."""

    film: str
    """The slug of a film; of a batch or a clip its kind and its id, with a space between."""
    usd: Decimal | None = None
    earlier_film: str = ""
    """What earlier versions called it, and other films perhaps.

    All that they booked there counts.
    """

    @property
    def in_words(self) -> str:
        """What has this cap, for people."""
        if " " in self.film:
            return f"the {self.film}"
        return f"the film {self.film}"


class Reservation(BaseModel):
    """Money set aside for one clip that is being made."""

    model_config = ConfigDict(frozen=True)

    usd: Decimal
    claim: str
    film: str | None = None


class Accounts(BaseModel):
    """What is spent and what is set aside; `ledger/budget.json`.

    Reservations are named `{clip key}.{claim}`; those of versions before 0.3 by the clip key alone.
    """

    model_config = ConfigDict(frozen=True)

    version: int = 1
    writer: str = ""
    spent_usd: Decimal = NOTHING
    spent_on_films_usd: dict[str, Decimal] = {}
    reserved: dict[str, Reservation] = {}

    def committed(self, film: str | None = None, without: str = "") -> Decimal:
        """Return what is spent and set aside, in all or for a film, one reservation left out."""
        total = self.spent_usd
        if film is not None:
            total = self.spent_on_films_usd.get(film, NOTHING)
        for key, reservation in self.reserved.items():
            if key != without and film in (None, reservation.film):
                total += reservation.usd
        return total

    def committed_to(self, film: FilmCap, without: str = "") -> Decimal:
        """Return what is spent and set aside on a film, under its earlier name, too."""
        total = self.committed(film.film, without)
        if film.earlier_film:
            total += self.committed(film.earlier_film, without)
        return total


class Budget:
    """The accounts of an archive.

    Methods block (see `in_thread`) and may be repeated: money moves once per claim.
    """

    def __init__(self, bucket: Bucket, cap_usd: Decimal | None = None) -> None:
        self.bucket = bucket
        self.cap_usd = cap_usd

    def accounts(self) -> Accounts | None:
        """Return the accounts, None when no cap was ever set. Raises `LedgerUnreadable`."""
        return self._read()[0]

    def check(self, usd: Decimal, film: FilmCap | None = None) -> None:
        """Raise `OverBudget` when so much more would pass a cap. Reserves nothing.

        The first cap of an archive reads its whole ledger, once.
        """
        if not self._is_capped(film):
            return
        self._change(lambda accounts: accounts, begin=True)
        accounts, _ = self._read()
        self._check(accounts or Accounts(), usd, film)

    def _is_capped(self, film: FilmCap | None) -> bool:
        return self.cap_usd is not None or (film is not None and film.usd is not None)

    def reserve(self, entry: Entry, film: FilmCap | None = None) -> bool:
        """Set the worst price of an entry's latest request aside.

        Returns False where there are no accounts, as no cap was ever set. Raises `OverBudget`
        saying how much is missing; then nothing is set aside.
        """
        name = _name(entry.clip_key, entry.claim)
        reservation = _reservation(entry, film)
        was_set_aside = False

        def set_aside(accounts: Accounts) -> Accounts:
            nonlocal was_set_aside
            was_set_aside = True
            self._check(accounts, reservation.usd, film, name)
            return accounts.model_copy(
                update={"reserved": {**accounts.reserved, name: reservation}}
            )

        self._change(set_aside, begin=self._is_capped(film))
        return was_set_aside

    def restore(self, entry: Entry, film: FilmCap | None = None) -> None:
        """Set a request's worst price aside once more, where it was freed although its job is paid.

        No cap can refuse that.
        """

        def set_aside(accounts: Accounts) -> Accounts:
            if find_reservation(accounts, entry.clip_key, entry.claim) is not None:
                return accounts
            name = _name(entry.clip_key, entry.claim)
            reserved = {**accounts.reserved, name: _reservation(entry, film)}
            return accounts.model_copy(update={"reserved": reserved})

        self._change(set_aside, begin=False)

    def set_aside_again(self, name: str, reservation: Reservation) -> None:
        """Put a reservation back that was settled too early. No cap can refuse that."""

        def put_back(accounts: Accounts) -> Accounts:
            reserved = {**accounts.reserved, name: reservation}
            return accounts.model_copy(update={"reserved": reserved})

        self._change(put_back, begin=False)

    def set_aside_while(
        self, clip_key: str, reservation: Reservation, is_unchanged: Callable[[], bool]
    ) -> None:
        """Set money aside for a claim for which nothing is. No cap can refuse that.

        `is_unchanged` says whether the clip's record still is as the caller has read it. It is
        asked between the read and the write of the accounts: who changes the record and books in
        between has changed the accounts, too, and it is asked again.
        """

        def set_aside(accounts: Accounts) -> Accounts:
            is_there = find_reservation(accounts, clip_key, reservation.claim) is not None
            if is_there or not is_unchanged():
                return accounts
            reserved = {**accounts.reserved, _name(clip_key, reservation.claim): reservation}
            return accounts.model_copy(update={"reserved": reserved})

        self._change(set_aside, begin=False)

    def settle(self, entry: Entry, usd: Decimal) -> None:
        """Turn what is set aside for an entry's latest claim into money spent; 0 is a refund."""
        self.settle_claim(entry.clip_key, entry.claim, usd)

    def settle_claim(self, clip_key: str, claim: str, usd: Decimal) -> bool:
        """Turn what is set aside for one claim of a clip into money spent; 0 is a refund.

        Returns False, and changes nothing, where nothing is set aside for it.
        """
        was_set_aside = False

        def book(accounts: Accounts) -> Accounts:
            nonlocal was_set_aside
            name = find_reservation(accounts, clip_key, claim)
            was_set_aside = name is not None
            if name is None:
                return accounts
            reserved = dict(accounts.reserved)
            held = reserved.pop(name)
            return accounts.model_copy(
                update={**_spent(accounts, held.film, usd), "reserved": reserved}
            )

        self._change(book, begin=False)
        return was_set_aside

    def book(self, usd: Decimal, film: str | None = None) -> None:
        """Add money that was spent without being set aside, for a video that came late."""

        def add(accounts: Accounts) -> Accounts:
            return accounts.model_copy(update=_spent(accounts, film, usd))

        self._change(add, begin=False)

    def _change(self, change: Callable[[Accounts], Accounts], *, begin: bool) -> None:
        """Read, change, and write only if nobody wrote in between; else again."""
        end = time.monotonic() + INSIST_SECONDS
        while time.monotonic() < end:
            accounts, etag = self._read()
            if accounts is None and not begin:
                return
            changed = change(accounts or _opening(Ledger(self.bucket)))
            if changed == accounts:
                return
            # The writer's mark makes every version unique, so that a lost answer is recognised by
            # reading back.
            marked = changed.model_copy(update={"writer": secrets.token_hex(8)})
            body = marked.model_dump_json(indent=1).encode()
            if etag:
                written = self.bucket.replace(layout.BUDGET, body, etag)
            else:
                written = self.bucket.create(layout.BUDGET, body)
            if written is not None:
                return
            time.sleep(random.uniform(0, 0.1))  # noqa: S311  only spreads the racers
        raise StorageUnavailable(
            f"{self.bucket.uri(layout.BUDGET)} is being written by too many at once"
        )

    def _read(self) -> tuple[Accounts | None, str]:
        stored = self.bucket.read(layout.BUDGET)
        if stored is None:
            return None, ""
        return stored.parse(Accounts), stored.etag

    def _check(
        self, accounts: Accounts, usd: Decimal, film: FilmCap | None, without: str = ""
    ) -> None:
        committed = accounts.committed(without=without)
        _require_room("the archive", self.cap_usd, committed, usd, without)
        if film is None:
            return
        name = film.in_words
        committed = accounts.committed_to(film, without)
        if film.earlier_film:
            earlier_usd = accounts.committed(film.earlier_film, without)
            name = f"{name}, of earlier versions {film.earlier_film} with ${earlier_usd},"
        _require_room(name, film.usd, committed, usd, without)


def _opening(ledger: Ledger) -> Accounts:
    """Return the accounts of an archive that has kept none: what its ledger says.

    What was spent counts for its film, so that a film's cap holds for earlier runs, too; the
    archive's own cap counts from now on. What is open is not counted: a sender that has set nothing
    aside settles nothing.
    """
    spent: dict[str, Decimal] = {}
    for version in ledger.all_records():
        film = version.entry.film
        usd = version.entry.booked_usd
        if usd and film:
            spent[film] = spent.get(film, NOTHING) + usd
    return Accounts(spent_on_films_usd=spent)


def _require_room(
    name: str, cap_usd: Decimal | None, committed_usd: Decimal, usd: Decimal, reservation: str
) -> None:
    if cap_usd is None or committed_usd + usd <= cap_usd:
        return
    missing = committed_usd + usd - cap_usd
    told = f"{name} may cost ${cap_usd}, ${committed_usd} is spent or set aside, ${usd} is asked"
    raise OverBudget(f"${missing} is missing: {told}", clip_key=clip_of(reservation) or None)


def find_reservation(accounts: Accounts, clip_key: str, claim: str) -> str | None:
    """Return the name of what is set aside for one claim of a clip, None if nothing is."""
    for name in (_name(clip_key, claim), clip_key):
        reservation = accounts.reserved.get(name)
        if reservation is not None and reservation.claim == claim:
            return name
    return None


def clip_of(name: str) -> str:
    """Return the clip key in the name of a reservation."""
    return name.partition(".")[0]


def _name(clip_key: str, claim: str) -> str:
    return f"{clip_key}.{claim}"


def _spent(accounts: Accounts, film: str | None, usd: Decimal) -> dict[str, object]:
    films = dict(accounts.spent_on_films_usd)
    if film is not None and usd:
        films[film] = films.get(film, NOTHING) + usd
    return {"spent_usd": accounts.spent_usd + usd, "spent_on_films_usd": films}


def _reservation(entry: Entry, film: FilmCap | None) -> Reservation:
    # What is set aside anew, for a job that goes on after all, is the same film's as before.
    name = entry.film or None
    if film is not None:
        name = film.film
    return Reservation(usd=entry.request_usd, claim=entry.claim, film=name)
