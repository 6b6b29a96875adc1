"""What the documents show is run, against the local stand-ins."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.blocks.environment import (
    archive_from_environment,
    credentials_from_environment,
)
from prefect_kling.deployments import pytest_plugin
from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.batch.frozen import FrozenRow
from prefect_kling.studio.batch.results import BatchRow, RowState
from prefect_kling.studio.film.planner import plan_film, plan_story
from prefect_kling.studio.film.reading.columns import COLUMNS
from prefect_kling.studio.film.reading.reader import read_story, read_storyboard
from prefect_kling.studio.film.reading.table import read_requests, read_rows
from prefect_kling.studio.film.reading.version_table import read_versions
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.report import COUNTS, DIMENSIONS, SUMS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FILMS = (ROOT / "docs" / "films.md").read_text()


def blocks(language: str) -> list[str]:
    """The README's code in one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def real_run(
    sandbox: Sandbox, s3: LocalS3, prefect_ui: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The surroundings of a user with a key, played by the stand-ins."""
    monkeypatch.setenv("APIMODELS_API_KEY", sandbox.key)
    monkeypatch.setenv("KLING_BUCKET", BUCKET)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    address = KlingCredentials.model_fields["base_url"]
    page = address.default
    address.default = sandbox.base_url
    KlingCredentials.model_rebuild(force=True)
    yield
    address.default = page
    KlingCredentials.model_rebuild(force=True)
    for block in (KlingCredentials, KlingArchive):
        block.delete("default")


@pytest.mark.usefixtures("real_run")
def test_the_readmes_python_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    """A clip is made by the first piece, and by a user's own flow with stored blocks."""
    import asyncio

    first, flow = blocks("python")
    exec(compile(first, "README.md", "exec"), {"__name__": "readme"})
    assert f"s3://{BUCKET}/kling/clips/" in capsys.readouterr().out
    # As `prefect-kling setup` does.
    credentials_from_environment().save("default", overwrite=True)
    archive_from_environment().save("default", overwrite=True)
    namespace: dict[str, Any] = {"__name__": "readme"}
    exec(compile(flow, "README.md", "exec"), namespace)
    assert str(asyncio.run(namespace["teaser"]("A lamp"))).startswith(f"s3://{BUCKET}/")


def test_the_storyboards_in_the_documents_are_read_as_they_stand() -> None:
    """The YAML in the README and in the page about films is a storyboard each."""
    assert [len(scene.shots) for scene in read_storyboard(blocks("yaml")[0]).scenes] == [2, 1]
    films, takes = re.findall(r"```yaml\n(.*?)```", FILMS, re.DOTALL)
    assert [len(scene.shots) for scene in read_storyboard(films).scenes] == [2, 1]
    plan = plan_film(read_storyboard(takes))
    assert [clip.shot_name for clip in plan.open_picks] == ["1.2"]
    assert [(clip.takes, clip.order.take) for clip in plan.used] == [(3, 2), (3, 1), (1, 1), (3, 3)]


def test_the_page_about_versions_says_what_its_example_makes() -> None:
    """Four films, twelve clips, seven different ones; and its table makes a film of each row."""
    page = (ROOT / "docs" / "versions.md").read_text()
    (board,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    plan = plan_story(read_story(board))
    assert "These are four films of twelve clips in all, seven of which are different" in page
    together = plan.together
    assert (len(plan.films), len(together.clips), len(together.by_key)) == (4, 12, 7)
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    template = board.partition("versions:")[0]
    assert len(read_story(template, table=read_versions(table)).films) == 2


def test_the_table_in_the_guide_to_deployments_is_read_as_it_stands() -> None:
    """The aligned one too, with its empty cell."""
    (table,) = re.findall(
        r"```csv\n(.*?)```", (ROOT / "docs" / "how-to" / "deploy.md").read_text(), re.DOTALL
    )
    mug, rain = read_requests(table)
    assert (mug.prompt, mug.duration, len(mug.image_list)) == (
        "A mug on a turntable, studio light",
        3,
        1,
    )
    assert (rain.sound, rain.image_list) == ("on", [])


def test_the_page_about_batches_names_every_column() -> None:
    """Those that are read, those that are written, and an example that is read as it stands."""
    page = (ROOT / "docs" / "batches.md").read_text()
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    assert [request.duration for request in read_requests(table)] == [3, 5]
    named = set(re.findall(r"`(\w+)`", page))
    assert set(COLUMNS) <= named
    written = BatchRow(number=1, state=RowState.WRONG).columns()
    assert set(written) <= named


@pytest.mark.usefixtures("default_blocks")
def test_the_page_about_reports_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    """Its storyboard and table have the tags it speaks of, and names all there is to report."""
    page = (ROOT / "docs" / "reports.md").read_text()
    acme = {"project": "spring", "client": "Acme"}
    (board,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert read_storyboard(board).tags == acme
    (table,) = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    tags = [FrozenRow(number=1, given=row.given).tags for row in read_rows(table)]
    assert tags == [acme, {"project": "spring"}]
    said, read = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {}
    exec(compile(said, "reports.md", "exec"), namespace)
    assert namespace["spending"].tags == acme
    exec(compile(read, "reports.md", "exec"), namespace)
    assert namespace["report"].rows == ()
    assert set(re.findall(r"`(\w+)`", page)) >= {*DIMENSIONS, *COUNTS, *SUMS}


@pytest.mark.usefixtures("default_blocks")
def test_the_python_in_the_page_about_python_runs(archive: Archive) -> None:
    """The first call, the three tasks, and a test of a user's own, as they stand."""
    import asyncio

    page = (ROOT / "docs" / "python.md").read_text()
    call, steps, own_test = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict[str, Any] = {"__name__": "page"}
    exec(compile(call, "python.md", "exec"), namespace)
    assert namespace["clip"].uri.startswith(archive.bucket.uri("clips/"))
    exec(compile(steps, "python.md", "exec"), namespace)
    assert str(asyncio.run(namespace["step_by_step"]("A lamp"))).endswith(".mp4")
    compile(own_test, "python.md", "exec")
    for name in re.findall(r"^\| `(kling_\w+)` \|", page, re.MULTILINE):
        assert hasattr(pytest_plugin, name)


def test_the_readmes_make_targets_exist() -> None:
    """Every `make` target in the README is there; its commands are tried with all others."""
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", "\n".join(blocks("sh")), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
