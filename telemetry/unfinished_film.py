"""The page of a film that a run could not finish: why, what was paid, what is there, what to do."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from prefect_kling.kling.error_details import in_words
from prefect_kling.studio.errors import FilmIncomplete
from prefect_kling.studio.film.plan import PlannedClip
from prefect_kling.studio.film.quote import FilmQuote
from prefect_kling.studio.money.archive import Clip
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.money.standing import Standing
from prefect_kling.telemetry.clip_page import CLIP_HEADINGS, addresses, clip_cells
from prefect_kling.telemetry.markdown import Markdown, code, page, table
from prefect_kling.telemetry.progress import ProgressLog, Stage

_NOT_SENT_AGAIN = (Standing.FAILED, Standing.GIVEN_UP)


@dataclass(frozen=True)
class UnfinishedFilm:
    """What a run has left of a film that it could not finish."""

    before: FilmQuote
    """Its quote when the run began."""
    now: FilmQuote
    log: ProgressLog

    made: Mapping[str, Clip]
    """The clips that this run has made and archived, by key, further takes among them.

    What it has made before it was suspended is among them, too.
    """

    def paid_usd(self) -> Decimal:
        """Return what this run has paid for clips that are archived or under way."""
        usd = paid_for(self.made, self.before)
        for key, standing in self.before.standings.items():
            is_sent = standing is Standing.TO_PAY and self.now.standings[key] is Standing.UNDER_WAY
            if is_sent:
                usd += self.now.plan.by_key[key].price.usd
        return usd

    def held(self) -> list[PlannedClip]:
        """Return the clips that somebody must decide about."""
        return self._of((Standing.HELD,))

    def not_sent_again(self) -> list[PlannedClip]:
        """Return the clips that no run sends again by itself, and that no sum of ours counts."""
        return self._of(_NOT_SENT_AGAIN)

    def _of(self, standings: Collection[Standing]) -> list[PlannedClip]:
        found = self.now.standings
        return [clip for key, clip in self.now.plan.by_key.items() if found[key] in standings]


def paid_for(made: Mapping[str, Clip], before: FilmQuote) -> Decimal:
    """Return what a run has paid for the clips it has made, by its quote when it began.

    A job that was under way by then was paid by an earlier run. What was archived by then was paid
    by this one, before it was suspended.
    """
    own = (Standing.TO_PAY, Standing.ARCHIVED)
    paid = (
        clip.usd for key, clip in made.items() if before.standings.get(key, Standing.TO_PAY) in own
    )
    return sum(paid, NOTHING)


def end_page(
    ended: str, error: BaseException, film: UnfinishedFilm, watch: Mapping[str, Markdown]
) -> Markdown:
    """Return the page of a film that has failed or was interrupted; nothing goes on in this run."""
    log = film.log
    summary = Markdown("**This film {}: {} of {} clips are archived. The run paid ${}.**")
    is_was = {"failed": "has failed", "interrupted": "was interrupted"}[ended]
    done = log.count(Stage.DONE)
    lines = [summary.format(is_was, done, len(log), film.paid_usd()), Markdown()]
    under_way = film.now.count(Standing.UNDER_WAY)
    if under_way:
        told = (
            "- {} clips were under way when the run ended: they are paid, the next run takes them"
        )
        lines.append(Markdown(told).format(under_way))
    for clip in film.held():
        told = "- {} is held and may be paid, ${} at most: {}"
        command = code(f"prefect-kling ledger show {clip.clip_key}")
        lines.append(Markdown(told).format(clip.name, clip.at_most_usd, command))
    lines += [Markdown(), Markdown("## Why"), Markdown(), *_why(error, log)]
    lines += [Markdown(), Markdown("## What to do"), Markdown(), *_next_step(ended, film)]
    finished = [(each.shot, each.clip) for each in log if each.clip is not None]
    if finished:
        rows = [[watch[shot], shot, *clip_cells(clip)] for shot, clip in finished]
        lines += [Markdown(), Markdown("## What is finished"), Markdown()]
        lines += [*table(("watch", "shot", *CLIP_HEADINGS), rows), *addresses(finished)]
    return page(lines)


def _why(error: BaseException, log: ProgressLog) -> list[Markdown]:
    """Return what stopped which shot, and which shots could not begin."""
    reasons: Mapping[str, BaseException] = {"": error}
    if isinstance(error, FilmIncomplete):
        reasons = error.reasons
    rows = [[name, in_words(reason)] for name, reason in reasons.items()]
    others = (each for each in log if each.clip is None and each.shot not in reasons)
    rows += [[each.shot, each.detail] for each in others if each.detail]
    return table(("shot", "why"), rows)


def _next_step(ended: str, film: UnfinishedFilm) -> list[Markdown]:
    """Return what to do and what it costs; what is not sent again by itself is named with both."""
    first = "See to what is named above, then run"
    if ended == "interrupted":
        first = "Run"
    step = Markdown("{} the film again: what is finished costs nothing, the rest ${} at most.")
    lines = [step.format(first, film.now.at_most_usd), Markdown()]
    for clip in film.not_sent_again():
        standing = film.now.standings[clip.clip_key]
        told = Markdown("- not in that sum: {}, {}, ${} at most. Change its prompt, or {}: {}")
        way, command = _other_way(clip, standing)
        facts = (clip.name, standing.value, clip.at_most_usd, way, code(command))
        lines.append(told.format(*facts))
    return lines


def _other_way(clip: PlannedClip, standing: Standing) -> tuple[str, str]:
    """Return what else can be done about a clip that no run sends again, and by which command."""
    if standing is Standing.FAILED:
        return "allow one more attempt", f"prefect-kling retry {clip.clip_key}"
    # What is given up may have been paid: its record says more.
    return "look at it", f"prefect-kling ledger show {clip.clip_key}"
