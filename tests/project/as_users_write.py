"""Every public name, used as a user does. Type checkers read this file; it never runs."""

from decimal import Decimal
from typing import assert_type

from prefect import flow
from prefect_aws import AwsCredentials, S3Bucket
from pydantic import SecretStr

import prefect_kling
from prefect_kling import (
    Clip,
    ClipOrder,
    Entry,
    KlingArchive,
    KlingCredentials,
    Spending,
    Storyboard,
    VideoJob,
    VideoRequest,
    advance_films,
    archive_video,
    collect_finished,
    generate_batch,
    generate_clip,
    generate_clip_sync,
    produce_film,
    produce_scene,
    produce_versions,
    quick_clip,
    quote,
    report_spending,
    submit_batch,
    submit_film,
    submit_video,
    wait_for_video,
)
from prefect_kling.flows.quick_clip import ClipForm

assert_type(prefect_kling.__version__, str)

credentials = KlingCredentials(api_key=SecretStr("sk_x"))
archive = KlingArchive(bucket=S3Bucket(bucket_name="films", credentials=AwsCredentials()))
spending = Spending(budget_usd=Decimal(20), tags={"client": "Acme"})
request = VideoRequest(model="kling-v3-omni", prompt="Gulls over a harbour", duration=5)
storyboard = Storyboard.model_validate({"title": "First light", "scenes": []})

assert_type(spending.resubmits, bool)
assert_type(storyboard.title, str)
assert_type(quote(request).usd, Decimal)

assert_type(generate_clip_sync("Gulls over a harbour", duration=5), Clip)


@flow
async def step_by_step() -> Clip:
    """Call the three tasks."""
    order = ClipOrder(request=request)
    entry: Entry = await submit_video(order, credentials, archive)
    job: VideoJob = await wait_for_video(entry, credentials, archive)
    return await archive_video(entry, job, credentials, archive)


@flow
async def everything() -> str:
    """Call each flow as a sub-flow of one's own."""
    clip = await generate_clip(request, credentials, archive, take=2)
    assert_type(clip, Clip)
    assert_type(clip.listed_usd, Decimal)
    assert_type(await quick_clip(ClipForm(prompt="Dawn"), credentials, archive), Clip)

    film = await produce_film(storyboard, credentials, archive, spending=spending)
    assert_type(film.uri, str)
    assert_type(await produce_scene(storyboard, credentials, archive, scene=1), list[Clip])
    sent = await submit_film("boards/film.yaml", credentials, archive)
    for step in [sent, *await advance_films(credentials, archive)]:
        assert_type(step.waiting, list[str])

    batch = await generate_batch([request], credentials, archive, workers=2)
    assert_type(batch.usd, Decimal)
    assert_type((await submit_batch("prompt\nA mug", credentials, archive)).is_complete, bool)
    found = await collect_finished(credentials, archive)
    assert_type(found.counts, dict[str, int])
    report = await report_spending(archive, by="month")
    assert_type(len(report.rows), int)
    for each in await produce_versions(storyboard, credentials, archive, versions=("tall",)):
        assert_type(each.seconds, float)
    return clip.uri
