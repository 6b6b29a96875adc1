"""Clips inside other people's code: six ways in flows, each a complete flow, and one without.

Blocks named `default` are used throughout.
"""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from prefect import flow, task
from prefect.deployments import arun_deployment

from prefect_kling import (
    Clip,
    ClipOrder,
    Entry,
    KlingArchive,
    KlingCredentials,
    VideoJob,
    VideoRequest,
    archive_video,
    generate_batch,
    generate_clip,
    generate_clip_sync,
    submit_video,
    wait_for_video,
)


def request_for(product: str) -> VideoRequest:
    """What to ask for."""
    return VideoRequest(
        model="kling-v3-omni", prompt=f"{product} on a turntable, studio light", duration=3
    )


def from_a_script(product: str) -> str:
    """One call: no flow, no event loop, no blocks in hand."""
    clip = generate_clip_sync(f"{product} on a turntable, studio light", duration=3)
    return clip.uri


@flow
async def step_by_step(product: str, label: str = "turntable") -> str:
    """Compose the three tasks; between them is room for work of one's own.

    Paid once all the same, whatever is retried: the ledger decides, by the order's clip key.
    """
    credentials = await KlingCredentials.aload("default")
    archive = await KlingArchive.aload("default")
    order = ClipOrder(request=request_for(product))
    entry: Entry = await submit_video(order, credentials, archive, label)
    job: VideoJob = await wait_for_video(entry, credentials, archive, label)
    clip: Clip = await archive_video(entry, job, credentials, archive, label)
    return clip.uri


@flow
async def from_an_async_flow(product: str) -> str:
    """Await it like any other flow; it becomes a sub-flow."""
    credentials = await KlingCredentials.aload("default")
    archive = await KlingArchive.aload("default")
    clip = await generate_clip(request_for(product), credentials, archive)
    return clip.uri


@flow
def from_a_sync_flow(product: str) -> str:
    """Wrap it in `asyncio.run`; it becomes a sub-flow all the same."""
    credentials = KlingCredentials.load("default")
    archive = KlingArchive.load("default")
    clip = asyncio.run(generate_clip(request_for(product), credentials, archive))
    return clip.uri


@task(task_run_name="clip of {product}")
def clip_of(product: str) -> dict[str, object]:
    """A task of one's own; whatever retries it, the clip is paid once."""
    credentials = KlingCredentials.load("default")
    archive = KlingArchive.load("default")
    clip = asyncio.run(generate_clip(request_for(product), credentials, archive))
    return {"product": product, "uri": clip.uri, "bytes": clip.bytes, "usd": str(clip.usd)}


@flow
def mapped_over_a_list(products: list[str]) -> list[dict[str, object]]:
    """`.map` runs the task for each product in a thread of its own."""
    return clip_of.map(products).result()


@flow
async def through_a_deployment(product: str) -> str:
    """Start the `clip` deployment and wait for it.

    The deployment knows the blocks; others are named as `{"$ref": {"block_document_slug":
    "kling-archive/other"}}`, never handed over as values. The idempotency key makes a retry of this
    flow find the run it started instead of starting another.
    """
    run = await arun_deployment(
        "generate-clip/clip",
        parameters={"request": request_for(product).model_dump(mode="json")},
        idempotency_key=f"clip of {product}",
    )
    return run.state.name if run.state else "unknown"


@flow
async def from_a_table_and_back(database: Path) -> int:
    """Read prompts from a table, make the clips, and write addresses and prices beside them."""
    credentials = await KlingCredentials.aload("default")
    archive = await KlingArchive.aload("default")
    with closing(sqlite3.connect(database)) as table, table:
        products = [
            name for (name,) in table.execute("SELECT name FROM products WHERE uri IS NULL")
        ]
        rows = await generate_batch([request_for(name) for name in products], credentials, archive)
        for name, row in zip(products, rows, strict=True):
            if row.clip is None:
                table.execute("UPDATE products SET trouble = ? WHERE name = ?", (row.trouble, name))
            else:
                facts = row.clip.uri, row.clip.bytes, str(row.clip.usd), name
                table.execute(
                    "UPDATE products SET uri = ?, bytes = ?, usd = ? WHERE name = ?", facts
                )
    return sum(row.clip is not None for row in rows)
