"""`prefect-kling pick` as a person meets it."""

import json
from pathlib import Path

import pytest

from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.reading.reader import load_storyboard
from prefect_kling.studio.film.takes import read_picks
from prefect_kling.studio.money.archive import Archive
from tests.deployments.conftest import Call, Done, is_documented

FILM = """
title: Picked {tag}
defaults: {{duration: 3, takes: 3}}
scenes:
  - continuity: last_frame
    shots:
      - {{title: The knock, prompt: "A {tag}"}}
      - {{title: The parcel, prompt: "B {tag}"}}
  - shots:
      - {{title: Street, prompt: "C {tag}", pick: 2}}
      - {{title: Sky, prompt: "D {tag}", takes: 1}}
"""


@pytest.mark.usefixtures("default_blocks")
def test_takes_are_listed_picked_and_told(
    call: Call, prefect_ui: str, archive: Archive, tmp_path: Path
) -> None:
    """A pick names a shot by number or title, tells what it changes, and is kept for later."""
    file = tmp_path / "film.yaml"
    file.write_text(FILM.format(tag=archive.bucket.prefix))

    def pick(*words: str) -> Done:
        return call("pick", str(file), *words, PREFECT_API_URL=f"{prefect_ui}/api")

    def picked() -> list[int | None]:
        board = load_storyboard(file)
        return [clip.pick for clip in plan_film(board, read_picks(board, archive)).used]

    listed = pick()
    assert listed.returncode == 0, listed.stderr
    assert "none is; take 1 counts" in listed.stdout
    assert "prefect-kling pick STORYBOARD 1.1=2" in listed.stdout

    told = json.loads(pick("--json").stdout)
    assert is_documented(told, "Picked")
    assert all(is_documented(each, "TakeListed") for each in told["takes"])
    assert [(each["take"], each["is_used"], each["is_open"]) for each in told["takes"][:2]] == [
        (1, True, True), (2, False, True),
    ]  # fmt: skip
    assert (len(told["takes"]), told["picked"], told["made_anew"]) == (9, {}, [])

    done = pick("1.2=3", "the knock=2")
    assert done.returncode == 0, done.stderr
    assert picked() == [2, 3, 2, None]
    assert "1.1 The knock: take 2 is picked; none was picked before" in done.stdout
    assert "Made from what is picked: 1.2 The parcel." in done.stdout
    assert "To be paid by the next run: $1.8990" in done.stdout

    # The pick of the second belongs to the first one's take 2.
    again = pick("1.1=1")
    assert "take 1 is picked; take 2 was picked before" in again.stdout
    assert "no take is picked of 1.2 The parcel" in again.stdout
    assert picked() == [1, None, 2, None]
    told = json.loads(pick("1.1=2", "--json").stdout)
    assert told["picked"] == {"1.1 The knock": 2}
    assert told["made_anew"] == ["1.2 The parcel"]
    assert told["usd"] == "1.8990"
    assert picked() == [2, 3, 2, None]

    for words, told in {
        ("1.1=3", "1.1=4"): "1.1 The knock has no take 4, only 1 to 3; `takes`",
        ("1.1=1", "Stret=2"): "there is no shot 'Stret'; did you mean 'street'?",
        ("1.1=1", "2.2=2"): "2.2 Sky has one take only; say `takes: 2` in the storyboard",
        ("1.1=1", "2.1=3"): "the storyboard picks take 2 of 2.1 Street, which counts before",
        ("1.1=1", "2.1:3"): "'2.1:3' is no pick; one is written as 1.2=3: shot 1.2, take 3",
    }.items():
        refused = pick(*words)
        assert refused.returncode == 1
        assert told in refused.stderr
    assert picked() == [2, 3, 2, None], "a mistake keeps none of the picks beside it"
