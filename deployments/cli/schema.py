"""`prefect-kling schema`."""

import json

from prefect_kling.studio.film.reading.reader import storyboard_schema


def schema() -> None:
    """Print the JSON Schema of storyboards, for editors."""
    print(json.dumps(storyboard_schema(), indent=2))
