"""Which shots may be made again by themselves."""

from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.film.retakes import retakable

FILM = """
title: Retakes
defaults: {duration: 3}
scenes:
  - shots:
      - {prompt: Alone}
      - {prompt: Chosen, takes: 2, pick: 2}
      - {prompt: Open, takes: 2}
      - {prompt: Shown in a chain as well}
  - continuity: last_frame
    shots:
      - {prompt: Shown in a chain as well}
      - {prompt: The end of the chain}
"""


def test_only_shots_that_nothing_hangs_on_and_nobody_chooses_may_be_retaken() -> None:
    """A shot that is the same clip as the source of another scene may not, either."""
    plan = plan_film(read_storyboard(FILM))
    keys = retakable(plan.clips)
    names = [clip.order.request.prompt for clip in plan.clips if clip.clip_key in keys]
    assert names == ["Alone", "The end of the chain"]
