"""Send a film and leave: nothing waits while it renders, and it completes itself when its last clip lands."""

from prefect import flow

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows.sending import Step, advance
from prefect_kling.kling.errors import KlingError
from prefect_kling.runs.approval import ask
from prefect_kling.runs.missing_blocks import name_missing_blocks
from prefect_kling.runs.names import named_after_film
from prefect_kling.runs.spending import Spending
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.film.pending import PendingFilm, pending_films
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.quote import quote_film
from prefect_kling.studio.money.budget import FilmCap
from prefect_kling.studio.storage.bucket import in_thread
from prefect_kling.tasks import StoryboardGiven, prepare_storyboard
from prefect_kling.telemetry.logs import run_logger


@flow(
    flow_run_name=named_after_film("send {title}"),
    persist_result=False,
    on_failure=[name_missing_blocks],
)
async def submit_film(
    storyboard: StoryboardGiven,
    credentials: KlingCredentials,
    archive: KlingArchive,
    spending: Spending = Spending(),
) -> Step:
    """Send every clip of a film that can be sent now, and end.

    **Costs the sum of the shots that are not archived yet**, chained ones later, each once. The film is written down as
    pending; `advance_films`, on a schedule and woken by clips that land, sends what has become possible and joins
    the film at the end. Sending the same film again changes nothing.

    Args:
        storyboard: A storyboard (YAML or JSON), or where one is: a link, or a path in the archive such as
            boards/film.yaml. Pictures and videos it names may lie beside it.
        credentials: Access to the Kling API.
        archive: Where clips, films and the ledger are kept.
        spending: How much the film may cost, and above what price a person is asked.
    """
    board = await prepare_storyboard(storyboard, archive)
    plan, studio = plan_film(board), archive.get_archive()
    quote = await quote_film(plan, studio)
    await in_thread(studio.budget.check, quote.at_most_usd, FilmCap(plan.slug, spending.budget_usd))
    await ask(quote, spending)
    pending = PendingFilm(storyboard=board, budget_usd=spending.budget_usd)
    # Written down first: a run that dies while it sends leaves a film that others complete.
    await in_thread(pending.keep, studio)
    return await advance(pending, credentials, archive)


@flow(persist_result=False, on_failure=[name_missing_blocks])
async def advance_films(credentials: KlingCredentials, archive: KlingArchive) -> list[Step]:
    """Take every pending film one step on, again and again until there is nothing left to do now.

    **Pays for the clips it sends**, within each film's budget; nothing for a film whose clips are all there. Waits for
    no job. Safe to repeat and to run twice at once.

    Args:
        credentials: Access to the Kling API.
        archive: The archive whose pending films are advanced.
    """
    done: list[Step] = []
    steps: list[Step] = []
    while True:
        before, steps = [str(step) for step in steps], []
        for pending in await in_thread(lambda: list(pending_films(archive.get_archive()))):
            step = await _advanced(pending, credentials, archive)
            (steps if step.film is None else done).append(step)
        # A clip may have landed while another film was looked at.
        if [str(step) for step in steps] == before:
            break
    run_logger().info("%d films are complete, %d are pending", len(done), len(steps))
    return done + steps


async def _advanced(
    pending: PendingFilm, credentials: KlingCredentials, archive: KlingArchive
) -> Step:
    """Take one film on; what stops it as a whole is told in its step, for other films may go on."""
    try:
        return await advance(pending, credentials, archive)
    except (KlingError, StudioError) as error:
        run_logger().error("%s: %s", pending.storyboard.title, error)
        return Step(pending.storyboard.title, stopped={"film": str(error)})
