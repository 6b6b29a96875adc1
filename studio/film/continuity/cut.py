"""cut: shots are independent, and made side by side."""

from prefect_kling.studio.film.continuity.kind import Continuity


class Cut(Continuity):
    """Each shot begins as it says itself."""

    name = "cut"
