"""The commands that make, show and decide, as a person and a program meet them."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.cli import watch
from prefect_kling.deployments.cli.documents import DOCUMENTS, Document
from prefect_kling.deployments.cli.exit_codes import ExitCode, exit_code_of
from prefect_kling.flows import submit_batch
from prefect_kling.kling.errors import JobFailed, StillRunning
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld, FilmIncomplete
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.ledger import Entry, EntryState
from prefect_kling.studio.money.reconcile import reconcile
from tests.deployments.conftest import Call, Done, is_documented
from tests.documents import section

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "command-line.md"


class Here:
    """The command line with the default blocks of this test."""

    def __init__(self, call: Call, server: str) -> None:
        self._call = call
        self._server = server

    def __call__(self, *words: str, **environment: str) -> Done:
        """Run a command."""
        return self._call(*words, PREFECT_API_URL=self._server, **environment)

    def facts(self, *words: str, code: int = 0) -> Any:
        """Run a command with `--json`; stdout is one document and nothing else."""
        done = self(*words, "--json")
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def here(call: Call, prefect_ui: str, default_blocks: None) -> Here:
    """The command line with blocks named default."""
    return Here(call, f"{prefect_ui}/api")


def test_a_clip_from_a_prompt(
    here: Here, archive: Archive, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The price first, then the clip and what was paid; again, nothing is paid, and it says so."""
    prompt = f"Gulls over a harbour {archive.bucket.prefix}"
    words = ("clip", prompt, "--duration", "3")
    created = sandbox.stats()["created"]
    quoted = here.facts(*words, "--quote")
    assert is_documented(quoted, "ClipQuoted")
    assert (quoted["state"], quoted["usd"], quoted["name"]) == ("to be paid", "0.1899", prompt)
    assert sandbox.stats()["created"] == created, "a quote sends nothing"

    refused = here(*words, "--approve-above-usd", "0.1")
    assert refused.returncode == ExitCode.FAILED
    assert "no terminal to ask on" in refused.stderr
    assert "nothing was paid" in refused.stderr
    over = here(*words, "--budget-usd", "0.1")
    assert "OverBudget" in over.stderr
    assert sandbox.stats()["created"] == created

    copy = tmp_path / "gulls.mp4"
    made = here(*words, "--to", str(copy), "--tag", "project=spring")
    assert made.returncode == 0, made.stderr
    assert "3 s of kling-v3-omni, std: $0.1899; to be paid" in made.stdout
    assert "rendering" in made.stdout, "without a terminal a line for each change"
    assert "This run has paid $0.1899." in made.stdout
    assert "watch it: http" in made.stdout
    again = here.facts(*words)
    assert is_documented(again, "ClipMade")
    assert (again["usd"], again["paid_usd"]) == ("0.1899", "0")
    assert copy.stat().st_size == again["bytes"]
    assert archive.find(again["clip_key"]) is not None
    assert "Nothing was paid by this run" in here(*words).stdout
    assert sandbox.stats()["created"] == created + 1
    (version,) = archive.ledger.all_records()
    assert version.entry.tags == {"project": "spring"}


@pytest.mark.slow
def test_facts_of_a_film_and_a_table_are_one_document(
    here: Here, archive: Archive, tmp_path: Path
) -> None:
    """On stdout that document and nothing else; shots without a title show their prompt."""
    own = archive.bucket.prefix.strip("/")
    board = tmp_path / "film.yaml"
    board.write_text(
        f"title: Short {own}\nscenes:\n  - shots:\n"
        "      - {prompt: Rain on a roof, duration: 3}\n"
    )
    quoted = here.facts("quote", str(board))
    assert is_documented(quoted, "Quoted")
    assert [clip["name"] for clip in quoted["clips"]] == ["1.1 Rain on a roof"]
    assert "1.1 Rain on a roof" in here("quote", str(board)).stdout
    first = here("film", str(board), "--json")
    assert first.returncode == 0, first.stderr
    made = json.loads(first.stdout)
    assert is_documented(made, "FilmMade")
    assert is_documented(made["clips"][0], "FilmPart")
    assert (made["usd"], made["paid_usd"]) == ("0.1899", "0.1899")
    assert "1.1 Rain on a roof: rendering" in first.stderr
    again = here("film", str(board))
    assert "Nothing was paid by this run" in again.stdout
    exported = here.facts("export", made["slug"], "--to", str(tmp_path / "out"))
    assert is_documented(exported, "Exported")
    assert {Path(file["path"]).name for file in exported["files"]} >= {"film.mp4", "manifest.json"}
    assert all(Path(file["path"]).stat().st_size == file["bytes"] for file in exported["files"])

    table = tmp_path / "cups.csv"
    table.write_text(f"id,prompt,duration\nA,A cup {own},3\nB,[fail:CONTENT_MODERATION] {own},3\n")
    assert is_documented(here.facts("quote", str(table)), "Quoted")
    batch = here.facts("batch", str(table), code=ExitCode.FAILED)
    assert is_documented(batch, "BatchMade")
    assert (batch["counts"], batch["paid_usd"]) == ({"archived": 1, "failed": 1}, "0.1899")
    (trouble,) = batch["troubles"]
    assert is_documented(trouble, "RowInTrouble")
    assert (trouble["row"], trouble["id"]) == (2, "B")
    listed = here.facts("ledger", "list")
    assert is_documented(listed["clips"][0], "LedgerLine")
    assert is_documented(here.facts("ledger", "show", trouble["clip_key"]), "LedgerLine")
    assert here.facts("ledger", "quarantine", "list") == {"files": []}
    examined = json.loads(here("doctor", "--json").stdout)
    assert is_documented(examined, "Examined")
    assert is_documented(examined["checks"][0], "Check")
    assert is_documented(json.loads(here("ledger", "audit", "--json").stdout), "Audited")


async def _left(archive: Archive, credentials: KlingCredentials, block: KlingArchive) -> str:
    request = VideoRequest(
        model="kling-v3-omni", prompt=f"Left {archive.bucket.prefix}", duration=3
    )
    rows = await submit_batch([request], credentials, block)
    return next(iter(rows)).clip_key


@pytest.mark.slow
def test_what_is_left_is_watched_and_collected(
    here: Here, archive: Archive, credentials: KlingCredentials, archive_block: KlingArchive
) -> None:
    """`watch` tells each change on a line and ends when nothing is left; `collect` brings it in."""
    key = asyncio.run(_left(archive, credentials, archive_block))
    found = here.facts("collect")
    while found["counts"].get("archived") != 1:
        found = here.facts("collect")
    assert is_documented(found, "Collected")
    assert here("collect").stdout.strip() == "Nothing was open."
    done = here("watch")
    assert (done.returncode, done.stdout.strip()) == (0, "nothing is under way.")
    assert archive.find(key) is not None


def test_a_change_is_a_line_of_json(
    here: Here,
    archive: Archive,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The clip as it is found, and as it ends; a sweep elsewhere brings it in meanwhile."""
    key = asyncio.run(_left(archive, credentials, archive_block))

    look = watch._Watched.look

    async def collect() -> None:
        async with credentials.get_client() as client:
            await reconcile(archive, client)

    def look_and_collect(watched: watch._Watched) -> list[Entry]:
        changed = look(watched)
        asyncio.run(collect())
        return changed

    monkeypatch.setattr(watch._Watched, "look", look_and_collect)
    done = here("watch", "--json", "--every", "0.1")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(is_documented(line, "Change") for line in lines)
    assert [(line["clip_key"], line["state"]) for line in lines] == [
        (key, "submitted"),
        (key, "archived"),
    ]


@pytest.mark.slow
def test_retry_and_give_up_are_the_decisions_of_the_ledger(
    here: Here, archive: Archive, sandbox: Sandbox
) -> None:
    """A failed clip may be tried again; a held one only once somebody says that it was not made."""
    prompt = f"[fail:CONTENT_MODERATION] {archive.bucket.prefix}"
    failed = here("clip", prompt, "--duration", "3")
    assert failed.returncode == ExitCode.FAILED
    (version,) = archive.ledger.all_records()
    key = version.entry.clip_key
    decided = here.facts("retry", key[:10])
    assert is_documented(decided, "Decided")
    assert [clip["state"] for clip in decided["decided"]] == ["released"]

    sandbox.fault(on="create", do={"status": 502}, after_commit=True, times=None)
    held = here("clip", f"Held {archive.bucket.prefix}", "--duration", "3")
    sandbox.clear_faults()
    assert held.returncode == ExitCode.HELD, held.stderr
    (key,) = [
        each.entry.clip_key
        for each in archive.ledger.all_records()
        if each.entry.state is EntryState.HELD
    ]
    assert here("watch").returncode == ExitCode.HELD
    created = sandbox.stats()["created"]
    refused = here("retry", key)
    assert refused.returncode == ExitCode.FAILED
    assert "--not-made" in refused.stderr
    assert archive.ledger.read(key).entry.state is EntryState.HELD  # type: ignore[union-attr]
    assert here("retry", key, "--not-made").returncode == 0
    assert archive.ledger.read(key).entry.state is EntryState.RELEASED  # type: ignore[union-attr]
    assert here("give-up", "no-such-film").returncode == ExitCode.FAILED
    given_up = here("give-up", version.entry.clip_key)
    assert given_up.returncode == 0, given_up.stderr
    assert sandbox.stats()["created"] == created, "a decision sends nothing"


def test_an_error_has_the_exit_code_that_the_page_names() -> None:
    """The worst of a film's shots counts: failed, then held, then not finished."""
    still, held, failed = StillRunning("s"), ClipHeld("h"), JobFailed("f")
    assert [exit_code_of(each) for each in (failed, held, still)] == [1, 3, 4]
    assert exit_code_of(FilmIncomplete("film", {"a": still})) == ExitCode.NOT_FINISHED
    assert exit_code_of(FilmIncomplete("film", {"a": still, "b": held})) == ExitCode.HELD
    assert exit_code_of(FilmIncomplete("film", {"a": held, "b": failed})) == ExitCode.FAILED
    page = PAGE.read_text()
    for code in ExitCode:
        assert f"| {code.value} |" in page


def fields_of(document: type[Document]) -> str:
    """The section of a document in the page."""
    said = (document.__doc__ or "").splitlines()[0]
    rows = [
        f"| `{name}` | {' '.join((field.description or '').split())} |"
        for name, field in document.model_fields.items()
    ]
    return "\n".join([said, "", "| field | |", "|---|---|", *rows])


def test_the_page_lists_every_field_of_every_document() -> None:
    """If this fails: `python -m tests.deployments.test_commands`."""
    assert section(PAGE, "documents") == "\n\n".join(fields_of(each) for each in DOCUMENTS)


def test_amounts_are_texts() -> None:
    """No program is handed a float for money."""
    for document in DOCUMENTS:
        for name, field in document.model_fields.items():
            if name.endswith("usd") or name in ("balance", "total", "frozen", "confirm"):
                assert field.annotation in (Decimal, Decimal | None), f"{document}.{name}"


if __name__ == "__main__":
    from tests.documents import write_section

    write_section(PAGE, "documents", "\n\n".join(fields_of(each) for each in DOCUMENTS))
