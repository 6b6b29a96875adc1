"""All versions of a story in the Prefect UI: one page with their shots, and then their films."""

from collections.abc import Mapping

from prefect_kling.kling.error_details import in_words
from prefect_kling.studio.film.assembly import Film
from prefect_kling.telemetry.film_page import FilmPage
from prefect_kling.telemetry.markdown import Markdown, code, log_view_errors, page, table
from prefect_kling.telemetry.posters import WatchCells


class VersionsPage(FilmPage):
    """The artifact of a story's versions under their flow run; see `FilmPage`."""

    async def show_films(
        self, films: Mapping[str, Film], errors: Mapping[str, BaseException]
    ) -> None:
        """Turn the page into that of the finished films: a picture and a link for each.

        `films` and `errors` are given by version. What stopped a version stands in its row.
        """
        with log_view_errors():
            # Their pictures have room of their own: those of the shots may fill the page's.
            cells = await WatchCells(self.archive).of([film.uri for film in films.values()])
            watch = dict(zip(films, cells, strict=True))
            rows = [_film_row(name, film, watch[name]) for name, film in films.items()]
            rows += [[name, in_words(error), "", "", ""] for name, error in errors.items()]
            versions = len(films) + len(errors)
            summary = Markdown("**{} of {} versions are films; this run paid ${}.**")
            lines = [summary.format(len(films), versions, self.paid_usd), Markdown()]
            lines += table(("version", "film", "lasts", "worth", "where"), rows)
            lines += [Markdown(), *await self.shots_table()]
            description = f"{self.quote.plan.title}: {len(films)} of {versions} versions"
            await self.write(page(lines), description)


def _film_row(name: str, film: Film, watch: Markdown) -> list[str]:
    return [name or film.title, watch, f"{film.seconds:.2f} s", f"${film.usd}", code(film.uri)]
