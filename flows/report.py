"""What a finished film looks like in the Prefect UI."""

from prefect.artifacts import acreate_markdown_artifact

from prefect_kling.studio.films import Film


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
    await acreate_markdown_artifact(key="film", markdown="\n".join(text), description=film.title)
