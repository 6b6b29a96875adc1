"""What `--json` prints: one document on stdout, amounts in US dollars as texts.

Fields are only ever added. docs/command-line.md lists them.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from prefect_kling.deployments.doctor.finding import Status
from prefect_kling.kling.prices import Quote
from prefect_kling.studio.batch.quote import BatchQuote
from prefect_kling.studio.batch.results import BatchResult, BatchRow, RowState
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.film.plan import PlannedClip
from prefect_kling.studio.film.quote import FilmQuote
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.quarantine import QuarantinedFile
from prefect_kling.studio.money.reconcile import Findings
from prefect_kling.studio.money.standing import Standing


class Document(BaseModel):
    """Facts for a program."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class ClipMade(Document):
    """`clip`: an archived clip."""

    clip_key: str
    """The key that names the clip in every command."""
    uri: str
    """Where the video is."""
    watch_url: str | None
    """A signed link that plays it; null where the archive gives none out."""
    usd: Decimal
    """What the clip cost, whenever it was made."""
    paid_usd: Decimal
    """What this call has paid; 0 if the clip was there, or its job was under way."""
    job_id: str
    """The job at the API."""
    prompt: str
    """The beginning of its prompt."""
    model: str
    """The model that made it."""
    take: int
    """Which take it is."""
    seconds: float
    """Its length."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""
    bytes: int
    """Size of the file."""
    sha256: str
    """Hash of the file."""
    notes: tuple[str, ...]
    """How it differs from what was ordered."""
    suspect: str
    """The checks of pictures and sound that it fails, such as `black, silent`."""

    @classmethod
    def of(cls, clip: Clip, watch_url: str | None, paid_usd: Decimal) -> Self:
        """Return the document of a clip."""
        return cls(
            clip_key=clip.clip_key,
            uri=clip.uri,
            watch_url=watch_url,
            usd=clip.usd,
            paid_usd=paid_usd,
            job_id=clip.job_id,
            prompt=clip.order.request.headline,
            model=clip.order.request.model,
            take=clip.order.take,
            seconds=clip.media.seconds,
            width=clip.media.width,
            height=clip.media.height,
            bytes=clip.bytes,
            sha256=clip.sha256,
            notes=clip.notes,
            suspect=clip.suspect,
        )


class ClipQuoted(Document):
    """A clip and its price: `clip --quote`, and each clip of `quote`."""

    name: str
    """Numbers and title of the shot in its film, or the beginning of the prompt."""
    clip_key: str
    """The key that names the clip in every command."""
    state: Standing
    """`archived`, `being sent`, `under way`, `held`, `given up`, `failed for good`, `to be
    paid`."""
    seconds: float
    """Length that is planned."""
    usd: Decimal
    """Its price if it has to be made."""
    at_most_usd: Decimal
    """Its highest price, which budgets are checked against."""

    @classmethod
    def of_order(cls, order: ClipOrder, price: Quote, standing: Standing) -> Self:
        """Return the document of a clip that belongs to no film."""
        return cls(
            name=order.request.headline,
            clip_key=order.clip_key,
            state=standing,
            seconds=price.seconds,
            usd=price.usd,
            at_most_usd=price.at_most_usd,
        )

    @classmethod
    def of_planned(cls, clip: PlannedClip, standing: Standing) -> Self:
        """Return the document of a film's clip."""
        return cls(
            name=clip.label,
            clip_key=clip.clip_key,
            state=standing,
            seconds=clip.seconds,
            usd=clip.price.usd,
            at_most_usd=clip.at_most_usd,
        )


class Quoted(Document):
    """`quote`: what a storyboard or a table will cost."""

    title: str
    """The film's title, or the table's name."""
    usd: Decimal
    """What is to be paid now."""
    at_most_usd: Decimal
    """The most that is to be paid now."""
    worth_usd: Decimal
    """The price of all clips, those that exist among them."""
    rows: int | None = None
    """Rows of a table; null for a film."""
    counts: dict[str, int]
    """How many different clips are in which state; the states are those of `clip --quote`."""
    clips: tuple[ClipQuoted, ...] = ()
    """The clips of a film in order; none for a table."""
    notes: tuple[str, ...] = ()
    """What somebody should know before paying."""
    obstacles: tuple[str, ...] = ()
    """Why it cannot be made as it is."""

    @classmethod
    def of_film(cls, quote: FilmQuote) -> Self:
        """Return the document of a film's quote."""
        plan = quote.plan
        clips = [ClipQuoted.of_planned(clip, quote.standings[clip.clip_key]) for clip in plan.clips]
        return cls(
            title=plan.title,
            usd=quote.usd,
            at_most_usd=quote.at_most_usd,
            worth_usd=plan.usd,
            counts={each.value: quote.count(each) for each in Standing if quote.count(each)},
            clips=tuple(clips),
            notes=tuple(plan.notes),
            obstacles=tuple(quote.obstacles),
        )

    @classmethod
    def of_batch(cls, quote: BatchQuote) -> Self:
        """Return the document of a table's quote."""
        return cls(
            title=quote.plan.table.name,
            usd=quote.usd,
            at_most_usd=quote.at_most_usd,
            worth_usd=quote.worth_usd,
            rows=quote.plan.rows,
            counts={each.value: quote.count(each) for each in Standing if quote.count(each)},
        )


class FilmPart(Document):
    """A clip of a film: `clips` of `film` and `demo`."""

    name: str
    """Numbers and title of the shot."""
    clip_key: str
    """The key that names the clip in every command."""
    uri: str
    """Where the video is."""
    begins_at: float
    """Where it begins in the film, in seconds."""
    seconds: float
    """How much of the film it fills."""
    usd: Decimal
    """What the clip cost, whenever it was made."""


class FilmMade(Document):
    """`film`, `demo`: a finished film."""

    title: str
    """Its title."""
    slug: str
    """Its name in addresses and in `export`."""
    film_key: str
    """The key of this cut."""
    uri: str
    """Where the film is."""
    watch_url: str | None
    """A signed link that plays it; null where the archive gives none out."""
    contact_sheet_uri: str
    """Where its contact sheet is."""
    manifest_uri: str
    """Where its manifest is: everything it is made of."""
    seconds: float
    """Its length."""
    shots: int
    """How many shots it has."""
    usd: Decimal
    """What all its clips cost, whenever they were made."""
    paid_usd: Decimal
    """What this call has paid."""
    clips: tuple[FilmPart, ...]
    """Its clips in order."""

    @classmethod
    def of(cls, film: Film, watch_url: str | None, paid_usd: Decimal) -> Self:
        """Return the document of a film."""
        parts = [
            FilmPart(
                name=each.name,
                clip_key=each.clip.clip_key,
                uri=each.clip.uri,
                begins_at=each.begins_at,
                seconds=each.seconds,
                usd=each.clip.usd,
            )
            for each in film.clips
        ]
        return cls(
            title=film.title,
            slug=film.slug,
            film_key=film.film_key,
            uri=film.uri,
            watch_url=watch_url,
            contact_sheet_uri=film.contact_sheet_uri,
            manifest_uri=film.manifest_uri,
            seconds=film.seconds,
            shots=sum(len(each.chapters) for each in film.clips),
            usd=film.usd,
            paid_usd=paid_usd,
            clips=tuple(parts),
        )


class RowInTrouble(Document):
    """A row of a table that has no clip: `troubles` of `batch`."""

    row: int
    """Which row, counted from 1."""
    id: str
    """Its own id, if the table has such a column."""
    state: RowState
    """`failed` or `held`."""
    clip_key: str
    """The key that names the clip in every command."""
    trouble: str
    """Why there is no clip."""

    @classmethod
    def of(cls, row: BatchRow) -> Self:
        """Return the document of a row."""
        return cls(
            row=row.number,
            id=str(row.given.get("id", "")),
            state=row.state,
            clip_key=row.clip_key,
            trouble=row.trouble,
        )


class BatchMade(Document):
    """`batch`: what became of a table."""

    table: str
    """Name of the table."""
    table_id: str
    """Its id, which names it in the archive."""
    rows: int
    """How many rows it has."""
    counts: dict[str, int]
    """How many rows are `archived`, `under way`, `held`, `failed`, `wrong`, `not sent`."""
    usd: Decimal
    """What the archived clips cost, whenever they were made."""
    paid_usd: Decimal | None
    """What this call has paid; null with `--leave`, for jobs are not paid before they end."""
    csv_uri: str
    """Where the table of results is, as CSV."""
    results_uri: str
    """The same as JSON Lines."""
    troubles: tuple[RowInTrouble, ...]
    """The first rows that failed or are held, twenty at most."""

    @classmethod
    def of(
        cls, result: BatchResult, paid_usd: Decimal | None, troubles: Iterable[BatchRow]
    ) -> Self:
        """Return the document of a batch."""
        return cls(
            table=result.table.name,
            table_id=result.table.id,
            rows=len(result),
            counts={state.value: count for state, count in result.counts.items()},
            usd=result.usd,
            paid_usd=paid_usd,
            csv_uri=result.csv_uri,
            results_uri=result.results_uri,
            troubles=tuple(RowInTrouble.of(row) for row in troubles),
        )


class Collected(Document):
    """`collect`: what a sweep found."""

    counts: dict[str, int]
    """How many clips were found how, such as `archived`, `running`, `held`, `expiring`."""
    named: dict[str, dict[str, str]]
    """The first hundred of each kind by clip key, with a word on each."""

    @classmethod
    def of(cls, findings: Findings) -> Self:
        """Return the document of a sweep."""
        return cls(counts=dict(sorted(findings.counts.items())), named=findings.named)


class LedgerLine(Document):
    """A record of the ledger: `ledger list` and `ledger show`, and the clips of a decision."""

    clip_key: str
    """The key that names the clip in every command."""
    state: EntryState
    """`claimed`, `sending`, `submitted`, `held`, `released`, `failed`, `given_up`, `archived`."""
    at_most_usd: Decimal
    """What it may cost at worst."""
    charged_usd: Decimal | None
    """What it cost; null while that is open."""
    job_id: str | None
    """The job at the API; of a held clip the one that an answer named."""
    film: str
    """The film, batch or clip whose budget paid for it."""
    tags: dict[str, str]
    """Who paid for it."""
    prompt: str
    """The beginning of its prompt."""
    model: str
    """The model it was ordered from."""
    take: int
    """Which take it is."""
    sent_at: datetime | None
    """When it was sent; null if it was not, or that is not known."""
    note: str
    """What was noted last."""

    @classmethod
    def of(cls, entry: Entry) -> Self:
        """Return the document of a record."""
        return cls(**_facts(entry))


class Change(LedgerLine):
    """`watch`, one document a line: a clip as it was first seen, or has changed."""

    at: datetime
    """When the change was seen."""

    @classmethod
    def seen(cls, entry: Entry, at: datetime) -> Self:
        """Return the document of a record that has changed."""
        return cls(at=at, **_facts(entry))


def _facts(entry: Entry) -> dict[str, object]:
    request = entry.order.request
    return {
        "clip_key": entry.clip_key,
        "state": entry.state,
        "at_most_usd": entry.at_most_usd,
        "charged_usd": entry.charged_usd,
        "job_id": entry.job_id,
        "film": entry.film,
        "tags": entry.tags,
        "prompt": request.headline,
        "model": request.model,
        "take": entry.order.take,
        "sent_at": entry.sent_at,
        "note": entry.last_note,
    }


class LedgerListed(Document):
    """`ledger list`: the records."""

    clips: tuple[LedgerLine, ...]
    """The records."""


class Decided(Document):
    """`retry`, `give-up`, `ledger adopt`, `release`, `retry` and `give-up`: a decision."""

    decided: tuple[LedgerLine, ...]
    """The records that were changed, as they stand now."""
    listed: tuple[LedgerLine, ...] = ()
    """The clips that the decision would be about, where `--confirm` is missing."""
    left_alone: dict[str, str] = {}
    """Why clips were not decided about, by clip key."""
    confirm: Decimal | None = None
    """The sum to type with `--confirm`; null once it is decided."""


class FileQuarantined(Document):
    """A paid file that no check accepts: `files` of `ledger quarantine list`."""

    clip_key: str
    """The clip that was paid for."""
    job_id: str
    """The job that delivered it."""
    uri: str
    """Where the bytes are."""
    bytes: int
    """Size of the file."""
    kept_at: datetime
    """When it was kept."""
    accepted_by: str
    """Who accepted it as the clip; empty if nobody has."""
    reason: str
    """Why it could not be verified."""

    @classmethod
    def of(cls, file: QuarantinedFile) -> Self:
        """Return the document of a file."""
        return cls(**{name: getattr(file, name) for name in cls.model_fields})


class Quarantined(Document):
    """`ledger quarantine list`: the files."""

    files: tuple[FileQuarantined, ...]
    """The files."""


class Check(Document):
    """One check of the doctor: `checks` of `doctor`."""

    check: str
    """Its name."""
    status: Status
    """`ok`, `hint`, `fault` or `skipped`."""
    found: str
    """What was found, in words."""
    fix: str
    """What to do; empty where nothing is to be done."""


class Examined(Document):
    """`doctor`: all checks."""

    checks: tuple[Check, ...]
    """The checks in order."""
    faults: int
    """How many found a fault."""


class Audited(Document):
    """`ledger audit`: the account's books beside the ledger."""

    agrees: bool
    """Whether account and ledger agree to the last digit."""
    balance: Decimal
    """What is free on the account."""
    total: Decimal | None
    """All that is on the account; null where the API does not tell it."""
    frozen: Decimal | None
    """What running jobs freeze of it; null where the API does not tell it."""
    currency: str
    """The account's currency."""
    unexplained_usd: Decimal | None
    """What left the account since the last audit that no known job explains; null if not
    known."""
    held: tuple[LedgerLine, ...]
    """The held clips."""
    proven: dict[str, str]
    """What is proven of them by clip key: `unpaid` or `paid`."""
    released: tuple[str, ...]
    """The clips that `--decide` has released."""


class BlockSetUp(Document):
    """A block: `blocks` of `setup`."""

    block: str
    """Its type and name, such as `kling-archive/default`."""
    outcome: Literal["created", "replaced", "unchanged"]
    """`created`, `replaced` or `unchanged`."""
    changes: tuple[str, ...] = ()
    """The fields that have another value now; none of a new block."""


class SetUp(Document):
    """`setup`: the blocks, and what the doctor says of them."""

    blocks: tuple[BlockSetUp, ...]
    """The blocks in the order in which they were saved."""
    checks: tuple[Check, ...]
    """The doctor's checks in order."""
    faults: int
    """How many checks found a fault."""


class FileOfProject(Document):
    """One file of a project: `files` of `init`."""

    path: str
    """Where it was written; with `.new` at its end where a file of yours was left as it is."""
    outcome: Literal["written", "unchanged", "beside"]
    """`written`, `unchanged`, or `beside` a file of yours that differs."""


class ProjectBegun(Document):
    """`init`: the files of a project."""

    pool: str
    """The work pool that its deployments belong to."""
    files: tuple[FileOfProject, ...]
    """Every file."""


class Deployed(Document):
    """`deploy`: what was deployed."""

    pools: tuple[str, ...]
    """The work pools that the deployments belong to."""
    new_pools: tuple[str, ...]
    """Those of them that this call has made."""
    deployments: tuple[str, ...]
    """The names of the deployments."""
    scheduled: tuple[str, ...]
    """Those of them that have a schedule which is on."""


class AutomationKept(Document):
    """One automation: `automations` of `automations`."""

    name: str
    """Its name."""
    outcome: Literal["created", "renewed", "unchanged", "theirs", "left_out"]
    """`created`, `renewed`, `unchanged`, `theirs` (left as it is: somebody or an earlier version
    made it so) or `left_out`."""
    told: str
    """The same in words, with the reason."""


class AutomationsKept(Document):
    """`automations`: what became of each."""

    automations: tuple[AutomationKept, ...]
    """Every automation of this package that could be there."""


class TakeListed(Document):
    """One take of a shot: `takes` of `pick`."""

    shot: str
    """Numbers and title of the shot."""
    take: int
    """Which take it is."""
    clip_key: str
    """The key that names the clip in every command."""
    state: Standing
    """As of `clip --quote`."""
    is_used: bool
    """Whether the film shows it as things stand: the one that is picked, or else take 1."""
    is_open: bool
    """Whether nobody has picked a take of the shot."""
    uri: str | None
    """Where the video is; null if it is not archived."""
    watch_url: str | None
    """A signed link that plays it; null if it is not archived, or the archive gives none out."""


class Picked(Document):
    """`pick`: the takes of a film, as they are picked after the call."""

    title: str
    """The film's title."""
    picked: dict[str, int]
    """The takes that this call has picked, by shot."""
    made_anew: tuple[str, ...]
    """Shots that the next run makes anew, because they are made from what this call has picked."""
    usd: Decimal
    """What the next run will pay."""
    notes: tuple[str, ...]
    """What somebody should know before that."""
    takes: tuple[TakeListed, ...]
    """Every take of the shots that have several."""


class FileExported(Document):
    """One file on disk: `files` of `export`."""

    path: str
    """Where it is."""
    bytes: int
    """Size of the file."""
    is_new: bool
    """Whether this call has brought it."""


class Exported(Document):
    """`export`: a film on disk."""

    title: str
    """Its title."""
    seconds: float
    """Its length."""
    files: tuple[FileExported, ...]
    """Every file."""


DOCUMENTS: tuple[type[Document], ...] = (
    ClipMade,
    ClipQuoted,
    Quoted,
    FilmMade,
    FilmPart,
    BatchMade,
    RowInTrouble,
    Collected,
    Change,
    LedgerListed,
    LedgerLine,
    Decided,
    Quarantined,
    FileQuarantined,
    Audited,
    Examined,
    Check,
    SetUp,
    BlockSetUp,
    ProjectBegun,
    FileOfProject,
    Deployed,
    AutomationsKept,
    AutomationKept,
    Picked,
    TakeListed,
    Exported,
    FileExported,
)
"""All documents, in the order of docs/command-line.md."""
