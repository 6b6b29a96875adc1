"""What can go wrong around durable clips and films, cut by what the caller can do about it.

```text
StudioError
├── StorageUnavailable   wait: the store did not answer, or answered with an error of its own
├── StorageRefused       fix the bucket, its permissions or the KlingArchive block
├── LedgerUnreadable     a person must look at a ledger object before its clip can be paid
├── ClipHeld             a person must decide: the clip may already be paid for
├── LedgerMoved          run again: two processes decided about one record, the first one's stands
├── NotApproved          a person said no, or nobody could be asked: nothing was sent
├── TakesNotPicked       pick takes and run again: nobody could be asked, what is made is kept
├── OverBudget           raise the cap or ask for less: nothing was sent
├── LinkExpired          ask the API for a fresh link; its results live 7 days
│   └── LinkForbidden    the link leads to a private address; nothing was fetched
├── DownloadBroken       run again: the bytes did not arrive whole
├── NotAVideo            the bytes are whole, but they are not a playable video
│   └── VideoQuarantined a paid video that cannot be verified: kept raw, a person may accept it
├── ArchiveConflict      other bytes already stand under this clip key; nothing was overwritten
├── WrongClip            name another clip: this one does not exist, or cannot be decided about
├── InputUnusable        take another picture or video: the API would not accept this one
├── InputUnreachable     the API cannot fetch an input: use another store or link, or uploads
├── StoryboardInvalid    fix the storyboard: file, line, field and rule are named
├── BatchNotSpread       deploy what a batch over several workers needs
├── WrongFilm            name a film that was joined
├── WrongReport          name what there is to report by
├── ExtraMissing         install what it names
├── WrongTable           name a table that was frozen
├── TableInvalid         fix the table of requests: line, field and rule are named
└── FilmIncomplete       see the shots it names; run again, what is finished is kept
```
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

from prefect_kling.kling.error_details import DetailedError


class StudioError(DetailedError):
    """Root of everything the studio raises.

    Each error carries the evidence there is: `clip_key`, `job_id`, the HTTP `status` and the
    server's `words`.
    """


class StorageUnavailable(StudioError):
    """The object store could not be reached or failed.

    No conclusion about its content is allowed.
    """

    next_step = (
        "Nothing was decided and nothing more was spent. Check the store's "
        "endpoint, then run again."
    )


class StorageRefused(StudioError):
    """The object store will not do this: no such bucket, no permission, a missing feature."""

    next_step = (
        "Fix the bucket or the KlingArchive block; run again afterwards, finished work is kept."
    )


class LedgerUnreadable(StudioError):
    """A ledger object exists and cannot be understood; it is never treated as absent."""

    next_step = "No money is spent on this clip until the object is repaired."


class ClipHeld(StudioError):
    """It is not known whether the clip's request was taken; it is never sent again by itself."""

    next_step = (
        "It may be paid, and is never sent again by itself: `prefect-kling ledger show CLIP_KEY` "
        "says what to look for and how to decide."
    )


class LedgerMoved(StudioError):
    """Two processes decided about the same record at once; the first one's decision stands."""

    next_step = "Run again: the record is read afresh."


class NotApproved(StudioError):
    """A person said no, or nobody could be asked; nothing was sent and nothing was paid."""

    next_step = "Nothing was sent and nothing was paid."


class TakesNotPicked(StudioError):
    """Shots wait for somebody to pick among their takes, and nobody could be asked."""

    next_step = (
        "The takes are kept and cost nothing again. Pick with `prefect-kling pick STORYBOARD`, or "
        "by `pick` in the storyboard, and run again; with `picks: first` take 1 counts."
    )


class OverBudget(StudioError):
    """A cap would be passed, even if only at worst.

    Nothing was sent for it and nothing was paid.
    """

    next_step = (
        "Nothing was sent. Raise the cap, wait until running clips are settled, or ask for less."
    )


class LinkExpired(StudioError):
    """The result link is no longer served (403, 404 or 410)."""

    next_step = "Ask the API for a fresh link; results live 7 days."


class LinkForbidden(LinkExpired):
    """The result link, or a redirect of it, leads to a private address.

    Nothing was fetched from there.
    """

    next_step = (
        "Ask the API for another link. Where its results do lie at private addresses, turn on "
        "`private_results` in the KlingCredentials block."
    )


class DownloadBroken(StudioError):
    """The transfer ended early, stalled, or contradicted its own length; nothing was stored."""

    next_step = (
        "Nothing was stored. Run again: the video is still at the API for 7 days after it was made."
    )


class NotAVideo(StudioError):
    """The bytes are not a whole, playable MP4; nothing was stored."""

    next_step = "Nothing was stored."


class VideoQuarantined(NotAVideo):
    """A paid job delivered what no check accepts.

    The raw file is kept in the quarantine of the archive.
    """

    next_step = (
        "Run again: a sound file is taken when the API delivers one. Otherwise look at the raw "
        "file; `prefect-kling ledger quarantine accept CLIP_KEY` makes it the clip, and "
        "`prefect-kling ledger quarantine list` names all."
    )


class ArchiveConflict(StudioError):
    """The archive already holds different bytes under this key; they were left alone."""

    next_step = "Compare the two records; nothing was overwritten."


class WrongClip(StudioError):
    """The clip does not exist, is not named unambiguously, or cannot be decided about now."""

    next_step = "See `prefect-kling ledger list`."


_MOST_RANGES = 500


class _TextInvalid(StudioError):
    """A text that a person handed in is wrong. `mistakes` are all the facts that are known of it.

    The first `MOST_TOLD` of them are told, one to a line.
    """

    MOST_TOLD: ClassVar[int] = 20
    mistakes: tuple[Any, ...] = ()
    """Each is a `studio.film.mistakes.Mistake`, whose text is one sentence."""

    @classmethod
    def of(cls, mistakes: Iterable[Any]) -> Self:
        """Return the error that tells these mistakes."""
        every = tuple(mistakes)
        lines = [str(each) for each in every[: cls.MOST_TOLD]]
        others = every[cls.MOST_TOLD :]
        if others:
            lines.append(f"and {len(others)} more{_in_lines(each.line for each in others)}")
        error = cls("\n".join(lines))
        error.mistakes = every
        return error

    def __str__(self) -> str:
        return f"{self.summary}\n{self.next_step}"


def _in_lines(numbers: Iterable[int | None]) -> str:
    """Return `, in lines 3, 5 to 9`, as many as somebody would read on; empty if none is known."""
    ranges: list[list[int]] = []
    for number in sorted({each for each in numbers if each is not None}):
        if ranges and number == ranges[-1][-1] + 1:
            ranges[-1] = [ranges[-1][0], number]
        else:
            ranges.append([number])
    told = [" to ".join(map(str, each)) for each in ranges[:_MOST_RANGES]]
    if len(ranges) > _MOST_RANGES:
        told.append("and others")
    if not told:
        return ""
    return f", in lines {', '.join(told)}"


class TableInvalid(_TextInvalid):
    """A table of requests breaks a rule; nothing was sent and nothing was paid."""

    next_step = "Nothing was paid. Correct the table and run again."


class BatchNotSpread(StudioError):
    """A batch cannot be spread over other runs; nothing was sent."""

    next_step = (
        "Deploy `batch-chunk`, as `prefect-kling serve` and `prefect deploy --all` do, with blocks "
        "that are stored; or leave `workers` at 1."
    )


class WrongFilm(StudioError):
    """There is no such film."""

    next_step = "Name a film by its title or by its folder under `films/` in the archive."


class WrongReport(StudioError):
    """What a report is to be made by does not exist."""

    next_step = "See docs/reports.md, or `prefect-kling report --help`."


class ExtraMissing(StudioError):
    """Something needs a package that is not installed."""

    next_step = "Install it: `pip install 'prefect-kling[timeline]'`."


class WrongTable(StudioError):
    """There is no such frozen table."""

    next_step = "See the folders under `batches/` in the archive."


class StoryboardInvalid(_TextInvalid):
    """The storyboard breaks a rule; nothing was sent and nothing was paid."""

    next_step = "Nothing was paid. Correct the storyboard and run again."


class InputUnusable(StudioError):
    """A picture or video breaks a limit of the API; nothing was sent and nothing was paid."""

    next_step = "Nothing was paid for it. Give another picture or video."


class InputUnreachable(StudioError):
    """The API cannot fetch a picture or video; nothing was sent for it and nothing was paid."""

    next_step = (
        "Nothing was sent and nothing was paid. Use a store and links that the API can reach, or "
        "turn on `upload_inputs` in the KlingCredentials block: inputs of the archive are then "
        "uploaded to the API, which publishes them for 7 days. Where the API does reach that host, "
        "turn off `check_links` there."
    )


class FilmIncomplete(StudioError):
    """Some shots could not be made. What could be made without them is, and is kept.

    `reasons` maps names to errors.
    """

    next_step = "Finished shots are kept and cost nothing again: see to these, then run again."

    def __init__(self, message: str, reasons: Mapping[str, BaseException] | None = None) -> None:
        super().__init__(message)
        self.reasons = dict(reasons or {})

    def __str__(self) -> str:
        return "\n".join(
            [
                self.message,
                *(f"  {name}: {error}" for name, error in self.reasons.items()),
                self.next_step,
            ]
        )
