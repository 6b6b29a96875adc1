"""All versions of a story in the Prefect UI: one page with their shots, and then their films."""

from collections.abc import Mapping
from decimal import Decimal

from prefect_kling.blocks import KlingArchive
from prefect_kling.kling.error_details import in_words
from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.money.ledger import NOTHING
from prefect_kling.studio.money.standing import Standing
from prefect_kling.telemetry.film_page import FilmPage, shots_table
from prefect_kling.telemetry.markdown import Markdown, code, log_view_errors, page, table
from prefect_kling.telemetry.posters import watch_cells


class VersionsPage(FilmPage):
    """The artifact of a story's versions under their flow run; see `FilmPage`."""

    async def show_films(
        self, films: Mapping[str, Film], errors: Mapping[str, BaseException], archive: KlingArchive
    ) -> None:
        """Turn the page into that of the finished films: a picture and a link for each.

        `films` and `errors` are given by version. What stopped a version stands in its row.
        """
        with log_view_errors():
            cells = await watch_cells([film.uri for film in films.values()], archive)
            watch = dict(zip(films, cells, strict=True))
            rows = [_film_row(name, film, watch[name]) for name, film in films.items()]
            rows += [[name, in_words(error), "", "", ""] for name, error in errors.items()]
            versions = len(films) + len(errors)
            summary = Markdown("**{} of {} versions are films; this run paid ${}.**")
            lines = [summary.format(len(films), versions, self._paid_usd()), Markdown()]
            lines += table(("version", "film", "lasts", "worth", "where"), rows)
            lines += [Markdown(), *shots_table(self.log)]
            description = f"{self.quote.plan.title}: {len(films)} of {versions} versions"
            await self.write(page(lines), description)

    def _paid_usd(self) -> Decimal:
        """Return the sum of the clips that were not archived before, each once."""
        prices = {}
        for progress in self.log:
            clip = progress.clip
            if clip is None or self.quote.standings[clip.clip_key] is Standing.ARCHIVED:
                continue
            prices[clip.clip_key] = clip.usd
        return sum(prices.values(), NOTHING)


def _film_row(name: str, film: Film, watch: Markdown) -> list[str]:
    return [name or film.title, watch, f"{film.seconds:.2f} s", f"${film.usd}", code(film.uri)]
