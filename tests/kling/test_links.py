"""Links to results are read as a person would read them, and never raise."""

import random

import pytest

from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.links import is_picture, read_links

LINK = "https://files.example/v.mp4?sig=a%2Fb"


@pytest.mark.parametrize(
    "said",
    [
        LINK,
        f" {LINK}",
        f"{LINK}\r\n",
        f"\t{LINK}\u2028",
        f'"{LINK}"',
        f"<{LINK}>",
        LINK.replace("https", "HTTPS"),
        LINK.replace("example/", "example/\n"),
        LINK.replace("//", "/"),
        LINK.replace("//", "\\\\"),
        LINK.removeprefix("https:"),
        LINK.removeprefix("https://"),
    ],
)
def test_a_link_that_a_person_would_recognise_is_read(said: str) -> None:
    """White space, quotes, case and a missing scheme do not hide a result."""
    assert next(iter(read_links(said))) == LINK


def test_without_a_scheme_both_are_offered() -> None:
    """A host on the local network may not have https."""
    assert list(read_links("//127.0.0.1:8/v.mp4")) == [
        "https://127.0.0.1:8/v.mp4",
        "http://127.0.0.1:8/v.mp4",
    ]


def test_several_links_in_one_text_are_all_read() -> None:
    """A list that became one text is still a list."""
    said = "https://a.example/1.mp4,\nhttp://b.example/2.mp4"
    assert list(read_links(said)) == ["https://a.example/1.mp4", "http://b.example/2.mp4"]


@pytest.mark.parametrize("said", ["", "pending", "/v.mp4", "ftp://a.example/v.mp4", "http://[::1"])
def test_what_is_no_link_is_none(said: str) -> None:
    """Prose, paths and other schemes are no results."""
    assert list(read_links(said)) == []


@pytest.mark.parametrize("seed", range(200))
def test_no_text_ever_raises(seed: int) -> None:
    """Whatever a server writes where a link belongs, a job can be read."""
    dice = random.Random(seed)
    letters = [chr(dice.randrange(0x110000)) for _ in range(20)] + list("/:[]@%?#\\ .\n") * 4
    said = "".join(dice.choices(letters, k=dice.randrange(40)))
    for text in (said, f"https://{said}", f"//{said}", f"https://a.example/{said}"):
        job = VideoJob.read({"taskId": "c1", "state": "completed", "resultUrls": [text]})
        assert job is not None
        assert (job.state is JobState.COMPLETED) == bool(job.urls)


def test_a_cover_is_never_a_result() -> None:
    """Pictures among the links are left out, and a picture alone does not complete a job."""
    cover = "https://files.example/cover.JPG?x=1"
    job = VideoJob.read({"taskId": "c1", "state": "completed", "resultUrls": [cover, LINK]})
    assert job is not None
    assert job.urls == (LINK,)
    alone = VideoJob.read({"taskId": "c1", "state": "completed", "resultUrls": [cover]})
    assert alone is not None
    assert alone.state is JobState.PROCESSING
    assert is_picture(cover)
