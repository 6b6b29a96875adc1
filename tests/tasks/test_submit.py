"""Spending money as a task: what is told when the outcome is unknown."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.deployments.local.demo import local_archive
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import ClipHeld
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.submission import SubmitOptions
from prefect_kling.tasks import submit_video
from prefect_kling.telemetry import events
from tests.kill.fault_proxy import UNAVAILABLE, FaultProxy, fault_proxy


class Leaving(httpx.AsyncHTTPTransport):
    """Real HTTP; once a paid call was answered, the store is away for good."""

    def __init__(self, proxy: FaultProxy, prefix: str) -> None:
        super().__init__()
        self._proxy, self._prefix = proxy, prefix

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass the request on."""
        response = await super().handle_async_request(request)
        if request.method == "POST":
            done = len(self._proxy.calls[self._prefix])
            for number in range(done, done + 100):
                self._proxy.spoil(self._prefix, number, UNAVAILABLE)
        return response


@pytest.fixture
def proxy(s3: LocalS3) -> Iterator[FaultProxy]:
    """A way to the store on which calls can be spoilt."""
    with fault_proxy(s3.endpoint) as running:
        yield running


def tried_once(archive: KlingArchive) -> KlingArchive:
    """The archive with a client that does not repeat calls to the store."""
    keys = archive.bucket.credentials
    config = {"retries": {"mode": "standard", "total_max_attempts": 1}}
    parameters = keys.aws_client_parameters.model_copy(update={"config": config})
    once = keys.model_copy(update={"aws_client_parameters": parameters})
    bucket = archive.bucket.model_copy(update={"credentials": once})
    return archive.model_copy(update={"bucket": bucket})


async def test_the_id_of_a_paid_job_is_told_although_the_store_is_away(
    proxy: FaultProxy,
    s3: LocalS3,
    archive: Archive,
    credentials: KlingCredentials,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Paid, and nothing can be written: error and event name the job, for nothing else does."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr(
        events,
        "emit_event",
        lambda name, resource, payload: heard.append({"event": name, **payload}),
    )
    prefix = archive.bucket.prefix.strip("/")
    transport = Leaving(proxy, prefix)
    monkeypatch.setattr(
        KlingCredentials,
        "get_client",
        lambda self: KlingClient(self.api_key, self.settings, transport),
    )
    block = tried_once(
        local_archive(LocalS3(proxy.endpoint, s3.access_key, s3.secret_key), prefix=prefix)
    )
    order = ClipOrder(
        request=VideoRequest(model="kling-v3-omni", prompt=f"Known to few {prefix}", duration=3)
    )
    with pytest.raises(ClipHeld) as caught:
        await submit_video.fn(order, credentials, block, terms=SubmitOptions(insist=0.0))
    (job,) = [job for job in sandbox.jobs() if job["body"]["prompt"] == order.request.prompt]
    (alarm,) = heard
    assert (caught.value.job_id, alarm["job_id"], alarm["event"]) == (
        job["id"],
        job["id"],
        "kling.clip.held",
    )
    assert job["id"] in alarm["why"]
