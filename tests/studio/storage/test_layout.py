"""The keys in the bucket, as existing archives have them."""

from datetime import UTC, datetime

import pytest

from prefect_kling.studio.storage import layout


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (layout.clip_video("abc"), "clips/abc.mp4"),
        (layout.clip_record("abc"), "clips/abc.json"),
        (layout.film_cuts("dawn"), "films/dawn"),
        (layout.film_video("dawn", "f1"), "films/dawn/f1/film.mp4"),
        (layout.film_contact_sheet("dawn", "f1"), "films/dawn/f1/contact-sheet.jpg"),
        (layout.film_manifest("dawn", "f1"), "films/dawn/f1/manifest.json"),
        (layout.last_frame("abc"), "frames/abc.png"),
        (layout.sharpest_frame("abc"), "frames/abc.sharpest.png"),
        (layout.cut_point("abc"), "frames/abc.sharpest.json"),
        (layout.tail("abc"), "tails/abc.mp4"),
        (layout.input_file("0f", "jpg"), "inputs/0f.jpg"),
        (layout.pending_film("dawn", "0f"), "pending/dawn.0f.json"),
        (layout.ledger_record("abc"), "ledger/jobs/abc.json"),
        (layout.open_marker("abc", "0123456789"), "ledger/open/abc.01234567"),
        (layout.held_marker("abc", "0123456789"), "ledger/held/abc.01234567"),
        (layout.BUDGET, "ledger/budget.json"),
        (
            layout.reading(datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)),
            "ledger/readings/20300102T030405.000006Z.json",
        ),
        (layout.write_probe("7"), "ledger/probe-7"),
    ],
)
def test_keys_are_those_of_existing_archives(path: str, key: str) -> None:
    """What was stored under a key is found again."""
    assert path == key


def test_a_marker_says_what_it_stands_for() -> None:
    """Clip key and claim are read back from its path."""
    assert layout.parse_marker(layout.open_marker("abc", "0123456789")) == ("abc", "01234567")
    assert layout.parse_marker("ledger/held/abc") == ("abc", "")
