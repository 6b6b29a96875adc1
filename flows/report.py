"""What a finished film looks like in the Prefect UI."""

import httpx
from prefect.artifacts import acreate_markdown_artifact
from prefect.exceptions import PrefectException

from prefect_kling.studio.films import Film
from prefect_kling.tasks.logs import run_logger


async def publish_film(film: Film) -> None:
    """Put the film's shots, prices and addresses under the flow run as one readable artifact."""
    rows = [
        f"| {shot.name} | {shot.begins_at:.2f} s | {shot.clip.media.seconds:.2f} s | ${shot.clip.usd} "
        f"| `{shot.clip.job_id}` | `{shot.clip.uri}` | {'; '.join(shot.clip.notes)} |"
        for shot in film.shots
    ]
    text = [
        f"# {film.title}",
        "",
        f"**{film.seconds:.2f} s, {len(film.shots)} shots, ${film.usd} by the price table.**",
        "",
        f"- film: `{film.uri}`",
        f"- contact sheet: `{film.contact_sheet_uri}`",
        f"- manifest: `{film.manifest_uri}`",
        "",
        "| shot | begins at | lasts | price | job | clip | differs from the order |",
        "|---|---|---|---|---|---|---|",
        *rows,
    ]
    try:
        await acreate_markdown_artifact(key=film.slug, markdown="\n".join(text), description=film.title)
    except (PrefectException, httpx.HTTPError) as error:
        run_logger().warning("the report could not be published, the film is finished all the same: %s", error)
