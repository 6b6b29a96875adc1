"""The flows that people start in the Prefect UI: their forms, and errors for wrong input."""

import contextlib
import logging
from decimal import Decimal
from typing import Any

import pytest
from prefect.artifacts import Artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import FlowRun
from prefect.flow_engine import run_flow_async
from prefect.utilities.callables import parameter_schema

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.catalogue import import_flow, read_deployments
from prefect_kling.flows import (
    generate_batch,
    generate_clip,
    produce_film,
    produce_scene,
    quick_clip,
    submit_batch,
    submit_film,
)
from prefect_kling.flows.quick_clip import ClipForm
from prefect_kling.kling.models import (
    DEFAULT_MODEL,
    find_model,
    register_model,
    unregister_model,
)
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import StoryboardInvalid, TableInvalid
from prefect_kling.studio.film.reading.reader import read_storyboard
from prefect_kling.studio.money.archive import Archive
from tests.lane import rest_is_slow

pytestmark = pytest.mark.usefixtures("prefect_ui")
FILM = "title: Pasted {tag}\nscenes:\n  - shots:\n      - {{prompt: A lamp {tag}, duration: 3}}\n"


def made(sandbox: Sandbox, archive: Archive) -> int:
    """How many jobs the API made for this test."""
    return sum(archive.bucket.prefix.strip("/") in str(job["body"]) for job in sandbox.jobs())


async def test_a_clip_from_the_short_form(
    credentials: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Every choice of the form reaches the API."""
    form = ClipForm(
        prompt=f"Gulls {archive.bucket.prefix}",
        seconds=4,
        shape="9:16",
        quality="1080p",
        sound=True,
    )
    clip = await quick_clip(form, credentials, archive_block)
    body = next(job["body"] for job in sandbox.jobs() if archive.bucket.prefix in str(job["body"]))
    assert {name: body[name] for name in ("duration", "aspect_ratio", "mode", "sound")} == {
        "duration": "4",
        "aspect_ratio": "9:16",
        "mode": "pro",
        "sound": "on",
    }
    assert clip.media.height > clip.media.width


@pytest.mark.parametrize("where", rest_is_slow(["pasted", "in the bucket"], "in the bucket"))
async def test_a_film_from_text(
    where: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """A storyboard is pasted, or named by its address in the archive."""
    text = FILM.format(tag=archive.bucket.prefix.strip("/"))
    if where == "in the bucket":
        archive.bucket.put("boards/film.yaml", text.encode(), "text/yaml")
        text = archive.bucket.uri("boards/film.yaml")
    film = await produce_film(text, credentials, archive_block)
    assert film.title.startswith("Pasted")
    assert made(sandbox, archive) == 1


@pytest.mark.parametrize("where", rest_is_slow(["pasted", "in the bucket"], "in the bucket"))
async def test_a_batch_from_a_table(
    where: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """Each line is a clip; the page under the run shows them all, troubles first."""
    tag = archive.bucket.prefix.strip("/")
    text = f"prompt,duration\nA mug {tag},3\n[fail:CONTENT_MODERATION] {tag},3\n"
    if where == "in the bucket":
        archive.bucket.put("tables/mugs.csv", text.encode(), "text/csv")
        text = "tables/mugs.csv"
    mug, bad = await generate_batch(text, credentials, archive_block)
    assert mug.clip is not None
    assert "CONTENT_MODERATION" in bad.trouble
    assert made(sandbox, archive) == 2
    page = await Artifact.get(key=f"batch-{'mugs' if where == 'in the bucket' else 'table'}")
    assert page is not None
    assert page.description == "1 of 2 rows are archived"
    trouble, _, clips = str(page.data).partition("## Clips")
    assert "| 2 | " in trouble.partition("## Rows in trouble")[2]
    assert "CONTENT" in trouble
    assert "| 1 | A mug" in clips
    assert mug.clip_key in clips
    assert clips.count("[Watch](http") == clips.count("![clip](data:image/jpeg;base64,") == 1


async def test_a_batch_tells_its_price_before_the_first_request(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rows, different clips and both prices are the first thing a batch logs."""
    tag = archive.bucket.prefix.strip("/")
    price = quote(VideoRequest(model=DEFAULT_MODEL, prompt="A mug", duration=3))
    with caplog.at_level("INFO"):
        await submit_batch(
            f"prompt,duration\nA mug {tag},3\nA mug {tag},3\nA jug {tag},3\n",
            credentials,
            archive_block,
        )
    prices = f"to pay ${2 * price.usd}, at most ${2 * price.at_most_usd}"
    told = f"3 requests, 2 different clips: 0 archived, 0 under way; {prices}"
    lines = [record.getMessage() for record in caplog.records]
    (priced,) = [number for number, line in enumerate(lines) if told in line]
    (first,) = [number for number, line in enumerate(lines) if f"A jug {tag}: job" in line]
    assert priced < first


async def test_a_wrong_table_is_told_before_anything_is_sent(
    credentials: KlingCredentials, archive_block: KlingArchive, sandbox: Sandbox
) -> None:
    """One wrong line stops the whole batch: nobody wants half of it paid."""
    before = sandbox.stats()["created"]
    with pytest.raises(TableInvalid, match="line 3: duration"):
        await submit_batch("prompt,duration\nA mug,3\nA jug,99\n", credentials, archive_block)
    assert sandbox.stats()["created"] == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "title: X\nscenes:\n  - shotz: []\n",
            "line 3: scene 1: there is no field 'shotz'; did you mean 'shots'?",
        ),
        ("s3://elsewhere/film.yaml", "is not in the archive; its addresses begin with s3://films/"),
        ("boards/none.yaml", "there is nothing at s3://films/"),
    ],
)
async def test_a_wrong_storyboard_is_told_before_anything_is_sent(
    text: str,
    words: str,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    sandbox: Sandbox,
) -> None:
    """The line and the field, or why the text could not be had."""
    before = sandbox.stats()["created"]
    with pytest.raises(StoryboardInvalid) as caught:
        await produce_film(text, credentials, archive_block)
    assert words in str(caught.value)
    assert sandbox.stats()["created"] == before


async def test_runs_are_named_after_their_film(
    credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """By its title where that can be read, else by the end of its address."""
    names: list[str] = []

    def note(flow: object, run: FlowRun, state: object) -> None:
        names.append(run.name)

    board, broken = read_storyboard(FILM.format(tag="once")), "title: X\nscenes: []\n"
    for made, text in (
        (produce_film, broken),
        (submit_film, "boards/none.yaml"),
        (produce_scene, board),
    ):
        hooked = made.with_options(on_failure=[note], on_completion=[note])
        with contextlib.suppress(StoryboardInvalid):
            await hooked(text, credentials, archive_block)
    assert names == [
        "film X",
        "send none.yaml",
        "scene 1 of Pasted once",
    ]


@pytest.mark.parametrize("each", read_deployments(), ids=lambda each: str(each["name"]))
def test_no_form_asks_for_a_type(each: dict[str, Any]) -> None:
    """An optional field is one plain field, no switch between types; only `extra` is a box."""
    schema = parameter_schema(import_flow(each["entrypoint"])).model_dump()
    ours = {
        "ClipForm",
        "Spending",
        "VideoRequest",
        "ImageInput",
        "VideoInput",
        "ElementInput",
        "Segment",
    }
    models = {name: model for name, model in schema["definitions"].items() if name in ours} | {
        "": schema
    }
    fields = {
        f"{name}.{key}": field
        for name, model in models.items()
        for key, field in model["properties"].items()
    }
    assert [name for name, field in fields.items() if "anyOf" in field] == []
    boxes = [name for name, field in fields.items() if field.get("type") == "object"]
    assert boxes == (["VideoRequest.extra"] if "VideoRequest" in models else [])
    assert [name for name, field in fields.items() if not field.get("description")] == []


@pytest.mark.parametrize("each", read_deployments(), ids=lambda each: str(each["name"]))
def test_forms_speak_of_what_people_know(each: dict[str, Any]) -> None:
    """No parameter is titled by its name in code, and block pickers say what empty means."""
    schema = parameter_schema(import_flow(each["entrypoint"])).model_dump()
    for name, field in schema["properties"].items():
        assert field["title"] != name
        assert "_" not in field["title"]
        if name in ("credentials", "archive"):
            assert "Empty means the block named default" in " ".join(field["description"].split())


def test_prices_in_forms_are_those_of_this_process() -> None:
    """A price that is configured for the account stands in the form."""
    dearer = find_model(DEFAULT_MODEL).model_copy(
        update={"rates": {"std": {"plain": Decimal("0.5")}, "pro": {"plain": Decimal("0.7")}}}
    )
    register_model(dearer)
    try:
        quality = ClipForm.model_json_schema()["properties"]["quality"]["description"]
        mode = VideoRequest.model_json_schema()["properties"]["mode"]["description"]
    finally:
        unregister_model(DEFAULT_MODEL)
    assert "$0.5 in 720p, $0.7 in 1080p" in quality
    assert f"{DEFAULT_MODEL} std $0.5, pro $0.7" in mode


async def test_a_storyboard_mistake_is_told_in_words_and_without_a_traceback(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The state begins with the sentence, the page has it, and its exception is still raised.

    So it is for a pasted text, and for one that a task reads in the archive.
    """
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)
    text = "title: X\nscenes:\n  - shotz: []\n"
    archive.bucket.put("boards/wrong.yaml", text.encode(), "text/yaml")
    for given, begins in ((text, "storyboard, line 3"), ("boards/wrong.yaml", "")):
        state = await produce_film(given, credentials, archive_block, return_state=True)
        assert state.is_failed()
        assert "line 3: scene 1: there is no field 'shotz'" in str(state.message)
        assert str(state.message).startswith(begins)
        assert "StoryboardInvalid" not in str(state.message)
        with pytest.raises(StoryboardInvalid):
            await state.aresult()
        page = await Artifact.get(key="why-it-failed")
        assert page is not None
        assert "there is no field 'shotz'; did you mean 'shots'?" in str(page.data)
    assert "Traceback" not in caplog.text


async def test_an_unexpected_error_keeps_its_traceback(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody can act on its words alone; the page says so."""
    monkeypatch.setattr(logging.getLogger("prefect"), "propagate", True)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("prefect_kling.runs.picks.plan_film", broken)
    with pytest.raises(ZeroDivisionError):
        await produce_film(FILM.format(tag="bug"), credentials, archive_block)
    assert "Traceback" in caplog.text
    page = await Artifact.get(key="why-it-failed")
    assert page is not None
    assert "Nobody expected this error" in str(page.data)


@pytest.mark.slow
async def test_names_that_people_give_are_kept(
    credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """A run is named by what it makes, unless somebody has named it."""
    names: list[str] = []

    def note(flow: object, run: FlowRun, state: object) -> None:
        names.append(run.name)

    table = 'prompt, duration\n"Mugs, on a table", 99\n'
    hooked = generate_batch.with_options(on_failure=[note])
    async with get_client() as api:
        for given in ("For Anna", "fearless-gecko", "Tasty-Jerboa", "psi504-jacawitz-boundary"):
            run = await api.create_flow_run(hooked, name=given)
            with contextlib.suppress(TableInvalid):
                await run_flow_async(
                    hooked,
                    flow_run=run,
                    parameters={
                        "requests": table,
                        "credentials": credentials,
                        "archive": archive_block,
                    },
                )
    assert names == ["For Anna", *["batch Mugs, on a table …"] * 3]


@pytest.mark.parametrize("what", ["a missing block", "a wrong value"])
async def test_a_run_that_cannot_begin_is_told_as_well(
    what: str, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """Prefect fails it with a message of its own; the page names the block or the value."""
    parameters: dict[str, Any] = {
        "request": {"model": DEFAULT_MODEL, "prompt": "A lamp"},
        "credentials": credentials,
        "archive": archive_block,
    }
    if what == "a missing block":
        parameters["credentials"] = {"$ref": {"block_document_slug": "kling-credentials/nobody"}}
        shown = "`prefect-kling setup`"
    else:
        parameters["request"]["duration"] = 99
        shown = "99"
    async with get_client() as api:
        sent = {name: each for name, each in parameters.items() if isinstance(each, dict)}
        run = await api.create_flow_run(generate_clip, parameters=sent)
        state = await run_flow_async(
            generate_clip, flow_run=run, parameters=parameters, return_type="state"
        )
        assert state.is_failed()
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run.id]))
        # Prefect notes the stored exception as an artifact, too.
        written = await api.read_artifacts(artifact_filter=of_run)
    (page,) = [each for each in written if each.type == "markdown"]
    assert page.key == "why-it-failed"
    assert shown in str(page.data).replace("\\`", "`")
