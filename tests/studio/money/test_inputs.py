"""What the API is given for an object of the archive, and what is refused before a claim."""

import asyncio
import hashlib

import httpx
import pytest

from prefect_kling.blocks import KlingCredentials
from prefect_kling.kling.client import KlingClient
from prefect_kling.kling.errors import RequestRefused
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import InputUnreachable, InputUnusable
from prefect_kling.studio.money.archive import Archive
from prefect_kling.studio.money.inputs import RENEW_SECONDS, InputAccess, UploadedInputs
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.preflight import require_sendable
from prefect_kling.studio.money.submission import submit_once
from prefect_kling.studio.storage.concurrency import in_thread

ELSEWHERE = InputAccess("https://apimodels.app/api/v1")
PATH = "inputs/0123.png"
ADDRESS = f"https://archive.invalid/{PATH}"


def order(url: str) -> ClipOrder:
    """A clip with one picture."""
    request = VideoRequest.model_validate(
        {"model": "kling-v3-omni", "prompt": "A lamp", "image_list": [{"image_url": url}]}
    )
    return ClipOrder(request=request)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The clock of the uploads."""
    return Clock()


@pytest.fixture
def uploads(credentials: KlingCredentials, clock: Clock) -> UploadedInputs:
    """No uploads yet."""
    return UploadedInputs(credentials.get_client, clock)


@pytest.fixture
def before(sandbox: Sandbox) -> int:
    """How many uploads there were before the test."""
    uploads: int = sandbox.stats()["uploads"]
    return uploads


def test_an_object_is_uploaded_once_by_its_content(
    archive: Archive, uploads: UploadedInputs, sandbox: Sandbox, before: int
) -> None:
    """Two objects with one content share an address; its name is a hash and tells nothing."""
    archive.bucket.put(PATH, b"same", "image/png")
    archive.bucket.put("frames/abc.png", b"same", "image/png")
    archive.uploads = uploads
    first = archive.sign_inputs(order(ADDRESS).request).image_list[0].image_url
    second = archive.sign_inputs(order("https://archive.invalid/frames/abc.png").request)
    assert second.image_list[0].image_url == first
    assert sandbox.stats()["uploads"] == before + 1
    assert httpx.get(first, trust_env=False).content == b"same"
    assert archive.bucket.name not in first


def test_an_upload_is_renewed_before_the_api_drops_it(
    archive: Archive, uploads: UploadedInputs, clock: Clock
) -> None:
    """It is used for 6 of its 7 days."""
    archive.bucket.put(PATH, b"old", "image/png")
    first = uploads.address(archive.bucket, PATH)
    clock.now += RENEW_SECONDS - 1
    assert uploads.address(archive.bucket, PATH) == first
    clock.now += 2
    assert uploads.address(archive.bucket, PATH) != first


def test_a_changed_object_is_another_upload(archive: Archive, uploads: UploadedInputs) -> None:
    """Uploads go by content and never by path."""
    archive.bucket.put(PATH, b"one", "image/png")
    first = uploads.address(archive.bucket, PATH)
    archive.bucket.put(PATH, b"two", "image/png")
    second = uploads.address(archive.bucket, PATH)
    digests = [hashlib.sha256(httpx.get(each, trust_env=False).content) for each in (first, second)]
    assert [each.hexdigest() for each in digests] == [
        hashlib.sha256(b"one").hexdigest(),
        hashlib.sha256(b"two").hexdigest(),
    ]


async def test_many_threads_upload_one_content_once(
    archive: Archive, uploads: UploadedInputs, sandbox: Sandbox, before: int
) -> None:
    """A batch whose rows share a picture publishes it once."""
    archive.bucket.put(PATH, b"shared", "image/png")
    archive.uploads = uploads
    request = order(ADDRESS).request
    await asyncio.gather(*(in_thread(archive.sign_inputs, request) for _ in range(8)))
    assert sandbox.stats()["uploads"] == before + 1


def test_links_of_the_user_are_left_alone(archive: Archive, uploads: UploadedInputs) -> None:
    """Only objects of the archive are uploaded or signed."""
    archive.uploads = uploads
    request = order("https://pictures.test/a.png").request
    assert archive.sign_inputs(request) == request


@pytest.mark.parametrize(
    "path",
    [
        "",
        "ledger/budget.json",
        "films/x/film.mp4",
        "inputs/../ledger/budget.json",
        "inputs/./a.png",
        "inputs//a.png",
        "inputs/%2e%2e/ledger/budget.json",
        "inputs/%2E%2E/ledger/x.png",
        "inputs/..%2fledger%2fx.png",
        "inputs/a.png?x=ledger",
        "inputs/a.png#ledger",
        "inputs\\..\\ledger\\x.png",
        "inputs",
        "inputs/",
        "inputs/.png",
        "clips/0123.json",
        "/inputs/a.png",
        "inputsx/a.png",
        "Ledger/../inputs/a.png",
        "quarantine/a.b.mp4",
        "pending/a.png",
        "late/a.mp4",
    ],
)
def test_what_is_no_input_is_neither_signed_nor_published(archive: Archive, path: str) -> None:
    """A request cannot name the ledger, however it writes the address."""
    for host in ("archive.invalid", "ARCHIVE.invalid", "archive.invalid:443"):
        request = order(f"https://{host}/{path}").request
        with pytest.raises(InputUnusable, match="no picture and no video"):
            archive.sign_inputs(request)


def test_an_order_whose_inputs_the_api_cannot_reach_is_refused_before_its_claim(
    archive: Archive,
) -> None:
    """Signed links of a private store, and the user's own links to private hosts."""
    for url in (ADDRESS, "http://192.168.1.9/a.png", "http://nas/a.png"):
        with pytest.raises(InputUnreachable) as refused:
            require_sendable(order(url), archive, ELSEWHERE)
        assert "X-Amz" not in str(refused.value)
        assert archive.ledger.read(order(url).clip_key) is None
    require_sendable(order("https://pictures.test/a.png"), archive, ELSEWHERE)


def test_uploads_and_the_setting_let_it_pass(
    archive: Archive, credentials: KlingCredentials
) -> None:
    """Uploads need no link; a user whose API reaches the store says so, as a sandbox does."""
    require_sendable(order(ADDRESS), archive, InputAccess(ELSEWHERE.api_url, uploads=True))
    require_sendable(order(ADDRESS), archive, InputAccess(ELSEWHERE.api_url, checks_links=False))
    require_sendable(order(ADDRESS), archive, credentials.input_access)


async def test_a_clip_with_a_job_is_never_refused(archive: Archive, client: KlingClient) -> None:
    """What is paid is adopted, wherever its inputs were: it needs them no more."""
    await submit_once(order(ADDRESS), client, archive)
    require_sendable(order(ADDRESS), archive, ELSEWHERE)


def test_an_order_that_cannot_be_written_is_refused_before_its_claim(archive: Archive) -> None:
    """Nothing is claimed for a request that could never be sent."""
    good = order(ADDRESS)
    request = good.request.model_copy(update={"extra": {"seed": float("inf")}})
    with pytest.raises(RequestRefused):
        require_sendable(good.model_copy(update={"request": request}), archive, ELSEWHERE)
