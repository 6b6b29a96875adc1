"""Versions of one story: a film each, what they share made once, one quote and one page."""

from pathlib import Path

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import produce_film, produce_scene, produce_versions, submit_film
from prefect_kling.runs.spending import Spending
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import FilmIncomplete, NotApproved, OverBudget, StoryboardInvalid
from prefect_kling.studio.money.archive import Archive
from prefect_kling.telemetry.progress import ShotProgress, Stage, subscribe

pytestmark = pytest.mark.usefixtures("prefect_ui")
PICTURES = Path(__file__).parents[2] / "examples" / "pictures"

# In each shape the first scene is the same in both languages: two clips. The last shot is not.
STORY = """
title: Workshop {tag}
variables: {{line: Made by hand.}}
defaults: {{duration: 3}}
scenes:
  - continuity: last_frame
    shots:
      - {{title: Clay, prompt: "Clay {tag}"}}
      - {{title: Kiln, prompt: "Kiln {tag}"}}
  - shots:
      - {{title: Line, prompt: "She says: {{{{line}}}} {tag}"}}
versions:
  - {{name: wide, aspect_ratio: 16:9}}
  - {{name: tall, aspect_ratio: 9:16}}
  - &german {{name: wide-de, aspect_ratio: 16:9, variables: {{line: Von Hand gemacht.}}}}
  - {{<<: *german, name: tall-de, aspect_ratio: 9:16}}
"""
VERSIONS = ["wide", "tall", "wide-de", "tall-de"]
DIFFERENT = 2 * (2 + 2)
WORTH_USD = "1.5192"


def tag_of(archive: Archive) -> str:
    """A word that only the prompts of this test have."""
    return archive.bucket.prefix.strip("/")


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(tag_of(archive) in str(job["body"]) for job in sandbox.jobs())


async def test_what_versions_share_is_made_and_paid_once(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Two shapes and two languages: four films, and as many jobs as different clips.

    The limits of money are about the sum. Who waits for the clip of another version asks neither
    the store nor the API. One page shows all films. Run again, nothing is made or paid.
    """
    text = STORY.format(tag=tag_of(archive))
    ask = Spending.model_validate({"approve_above_usd": "1.51"})
    with pytest.raises(NotApproved, match=rf"\${WORTH_USD} may be paid.* deploy the flow"):
        await produce_versions(text, credentials, archive_block, ask)
    poor = Spending.model_validate({"budget_usd": "1.51"})
    with pytest.raises(OverBudget):
        await produce_versions(text, credentials, archive_block, poor)
    assert made(sandbox, archive) == 0

    progress: list[ShotProgress] = []
    enough = Spending.model_validate({"budget_usd": "1.52", "approve_above_usd": "1.52"})
    with subscribe(progress.append):
        films = await produce_versions(text, credentials, archive_block, enough)
    assert made(sandbox, archive) == DIFFERENT
    assert [film.title.rpartition(": ")[2] for film in films] == VERSIONS
    assert len({clip.clip.clip_key for film in films for clip in film.clips}) == DIFFERENT
    wide, tall, *german = films
    shapes = [film.clips[0].clip.media for film in (wide, tall)]
    assert [each.width > each.height for each in shapes] == [True, False]
    for english, other in zip((wide, tall), german, strict=True):
        shared = [clip.clip.clip_key for clip in english.clips[:2]]
        assert [clip.clip.clip_key for clip in other.clips[:2]] == shared
        assert english.clips[2].clip.clip_key != other.clips[2].clip.clip_key
        assert english.clips[2].name == "2.1 Line"

    submitted = [each.shot for each in progress if each.stage is Stage.SUBMITTING]
    assert len(submitted) == DIFFERENT
    waited = [each for each in progress if each.stage is Stage.DONE and each.reused]
    assert len(waited) == len(VERSIONS) * 3 - DIFFERENT
    assert all(each.detail.startswith("the same clip as ") for each in waited)
    accounts = archive.budget.accounts()
    assert accounts is not None
    assert str(accounts.committed(f"workshop-{tag_of(archive)}")) == WORTH_USD

    page = await Artifact.aget(f"workshop-{tag_of(archive)}")
    assert page is not None
    assert page.description == f"Workshop {tag_of(archive)}: 4 of 4 versions"
    told = str(page.data)
    assert f"4 of 4 versions are films; this run paid ${WORTH_USD}." in told
    assert told.count("data:image/jpeg;base64,") == len(VERSIONS) + DIFFERENT
    assert told.count("[Watch](") == len(VERSIONS) * (1 + 3), "the films, and the shots of each"
    for version, film in zip(VERSIONS, films, strict=True):
        assert film.uri in told
        assert f"| {version}: 1.1 Clay | done |" in told
    async with get_client() as api:
        named = ArtifactFilter(key=ArtifactFilterKey(like_=f"workshop-{tag_of(archive)}%"))
        pages = await api.read_artifacts(artifact_filter=named)
    assert {each.key for each in pages} == {page.key}

    some = await produce_versions(text, credentials, archive_block, versions=("tall-de", "wide"))
    assert some == [films[0], films[3]]
    assert made(sandbox, archive) == DIFFERENT


@pytest.mark.slow
async def test_a_version_that_fails_stops_no_other(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """The error names the version and the shot, and so does the page; the others are films."""
    tag = tag_of(archive)
    text = (
        f"title: Fails {tag}\nvariables: {{shared: Shared}}\ndefaults: {{duration: 3}}\nscenes:\n"
        f'  - shots:\n      - {{title: Own, prompt: "{{{{own}}}} {tag}"}}\n'
        f'  - shots:\n      - {{title: Shared, prompt: "{{{{shared}}}} {tag}"}}\n'
        "versions:\n"
        '  - {name: one, variables: {own: "[fail:CONTENT_MODERATION]"}}\n'
        "  - {name: two, variables: {own: Two}}\n"
    )
    with pytest.raises(FilmIncomplete) as caught:
        await produce_versions(text, credentials, archive_block)
    assert caught.value.message.startswith(f"1 of 2 versions of Fails {tag} are not finished")
    [(shot, error)] = caught.value.reasons.items()
    assert shot == "one: 1.1 Own"
    assert "CONTENT_MODERATION" in str(error)
    joined = [name for name in archive.bucket.names("films/") if name.endswith("film.mp4")]
    assert [name.split("/")[1] for name in joined] == [f"fails-{tag}-two"]
    page = await Artifact.aget(f"fails-{tag}")
    assert page is not None
    assert "1 of 2 versions are films" in str(page.data)
    assert "| one: 1.1 Own | failed |" in str(page.data)
    assert made(sandbox, archive) == 3


async def test_a_film_for_each_row_of_a_table(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """The storyboard, the table and a picture for each row lie in the archive."""
    tag = tag_of(archive)
    board = (
        f"title: Turn {tag}\ndefaults: {{duration: 3}}\n"
        'references:\n  product: {image: "pictures/{{picture}}.jpg"}\n'
        f'scenes:\n  - shots:\n      - {{prompt: "{{{{product}}}} turns: <<<product>>> {tag}"}}\n'
    )
    rows = "name,product,picture,x_sku\nmug,A mug,mug-front,17\nbottle,A bottle,bottle,18\n"
    archive.bucket.put("boards/turn.yaml", board.encode(), "text/yaml")
    archive.bucket.put("tables/products.csv", rows.encode(), "text/csv")
    for name in ("mug-front.jpg", "bottle.jpg"):
        picture = (PICTURES / name).read_bytes()
        archive.bucket.put(f"boards/pictures/{name}", picture, "image/jpeg")
    films = await produce_versions(
        "boards/turn.yaml", credentials, archive_block, table="tables/products.csv"
    )
    assert [film.title for film in films] == [f"Turn {tag}: mug", f"Turn {tag}: bottle"]
    shown = [film.clips[0].clip.order.request.image_list[0].image_url for film in films]
    assert len(set(shown)) == 2
    assert made(sandbox, archive) == 2


@pytest.mark.parametrize("film_flow", [produce_film, produce_scene, submit_film])
async def test_what_makes_one_film_says_what_makes_all_versions(
    film_flow: object,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Nothing is sent for a storyboard with versions."""
    assert callable(film_flow)
    with pytest.raises(StoryboardInvalid, match="the deployment film-versions and"):
        await film_flow(STORY.format(tag=tag_of(archive)), credentials, archive_block)
    assert made(sandbox, archive) == 0


@pytest.mark.slow
async def test_a_storyboard_without_versions_is_one_film(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Variables alone make no versions; both flows make the same film."""
    text = (
        f"title: Plain {tag_of(archive)}\nvariables: {{product: A mug}}\nscenes:\n  - shots:\n"
        f'      - {{prompt: "{{{{product}}}} {tag_of(archive)}", duration: 3}}\n'
    )
    film = await produce_film(text, credentials, archive_block)
    assert await produce_versions(text, credentials, archive_block) == [film]
    assert film.clips[0].clip.order.request.prompt == f"A mug {tag_of(archive)}"
    assert made(sandbox, archive) == 1
