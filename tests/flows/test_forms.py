"""The flows people start in the Prefect UI: short forms, and words when they are filled in wrongly."""

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import film_from_storyboard, quick_clip
from prefect_kling.flows.quick_clip import ClipForm
from prefect_kling.kling.sandbox import Sandbox
from prefect_kling.studio.archive import Archive
from prefect_kling.studio.errors import StoryboardInvalid

pytestmark = pytest.mark.usefixtures("prefect_ui")
FILM = "title: Pasted {tag}\nscenes:\n  - shots:\n      - {{prompt: A lamp {tag}, duration: 3}}\n"


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(archive.bucket.prefix.strip("/") in str(job["body"]) for job in sandbox.jobs())


async def test_a_clip_from_the_short_form(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Every choice of the form reaches the API."""
    form = ClipForm(prompt=f"Gulls {archive.bucket.prefix}", seconds=4, shape="9:16", quality="1080p", sound=True)
    clip = await quick_clip(form, credentials, archive_block)
    body = next(job["body"] for job in sandbox.jobs() if archive.bucket.prefix in str(job["body"]))
    assert {name: body[name] for name in ("duration", "aspect_ratio", "mode", "sound")} == {
        "duration": "4",
        "aspect_ratio": "9:16",
        "mode": "pro",
        "sound": "on",
    }
    assert clip.media.height > clip.media.width


@pytest.mark.parametrize("where", ["pasted", "in the bucket"])
async def test_a_film_from_text(
    where: str, credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """A storyboard is pasted, or named by its address in the archive."""
    text = FILM.format(tag=archive.bucket.prefix.strip("/"))
    if where == "in the bucket":
        archive.bucket.put("boards/film.yaml", text.encode(), "text/yaml")
        text = archive.bucket.uri("boards/film.yaml")
    film = await film_from_storyboard(text, credentials, archive_block)
    assert film.title.startswith("Pasted")
    assert made(sandbox, archive) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title: X\nscenes:\n  - shotz: []\n", "line 3: scene 1: there is no field 'shotz'; did you mean 'shots'?"),
        ("s3://elsewhere/film.yaml", "is not in the archive; its addresses begin with s3://films/"),
        ("http://127.0.0.1:9/film.yaml", "the storyboard cannot be fetched"),
    ],
)
async def test_a_wrong_storyboard_is_told_before_anything_is_sent(
    text: str, words: str, credentials: KlingCredentials, archive_block: KlingArchive, sandbox: Sandbox
) -> None:
    """The line and the field, or why the text could not be had."""
    before = sandbox.stats()["created"]
    with pytest.raises(StoryboardInvalid) as caught:
        await film_from_storyboard(text, credentials, archive_block)
    assert words in str(caught.value)
    assert sandbox.stats()["created"] == before
