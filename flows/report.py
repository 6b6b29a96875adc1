"""What a finished film looks like in the Prefect UI."""

import httpx
from prefect.artifacts import acreate_markdown_artifact
from prefect.exceptions import PrefectException

from prefect_kling.studio.films import Film, FilmShot
from prefect_kling.tasks.logs import run_logger


async def publish_film(film: Film) -> None:
    """Put the film's shots, prices and addresses under the flow run as one readable artifact."""
    differ = any(shot.clip.notes for shot in film.shots)
    headings = ["shot", "begins at", "lasts", "price", *(["differs from the order"] if differ else []), "job", "clip"]
    rows = [_row(shot, differ=differ) for shot in film.shots]
    text = [
        f"**{film.seconds:.2f} s, {len(film.shots)} shots, ${film.usd} in all.**",
        "",
        f"- film: `{film.uri}`",
        f"- contact sheet: `{film.contact_sheet_uri}`",
        f"- manifest: `{film.manifest_uri}`",
        "",
        *(f"| {' | '.join(cells)} |" for cells in (headings, ["---"] * len(headings), *rows)),
    ]
    try:
        await acreate_markdown_artifact(key=film.slug, markdown="\n".join(text), description=film.title)
    except (PrefectException, httpx.HTTPError) as error:
        run_logger().warning("the report could not be published, the film is finished all the same: %s", error)


def _row(shot: FilmShot, *, differ: bool) -> list[str]:
    clip = shot.clip
    facts = [shot.name, f"{shot.begins_at:.2f} s", f"{clip.media.seconds:.2f} s", f"${clip.usd}"]
    return [*facts, *(["; ".join(clip.notes)] if differ else []), f"`{clip.job_id}`", f"`{clip.uri}`"]
