"""The bucket against a real S3 server, and against stores that fail or lie."""

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.stub import Stubber
from pydantic import BaseModel

from prefect_kling.deployments.local.demo import BUCKET
from prefect_kling.deployments.local.processes import free_ports
from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.studio.errors import LedgerUnreadable, StorageRefused, StorageUnavailable
from prefect_kling.studio.storage.bucket import Bucket

PART_BYTES = 5 * 2**20
SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"  # of b"test"
MD5 = "098f6bcd4621d373cade4e832627b4f6"  # of b"test"


@pytest.fixture
def bucket_of_parts(bucket: Bucket, s3: LocalS3) -> Bucket:
    """The same bucket prefix; whatever is larger than ten bytes is uploaded in parts of 5 MiB."""
    return Bucket(
        s3.client(),
        bucket.name,
        bucket.prefix,
        part_bytes=PART_BYTES,
        multipart_above_bytes=10,
    )


def test_an_object_is_created_once(bucket: Bucket) -> None:
    """The second creator is told so and changes nothing."""
    assert bucket.create("a", b"first")
    assert bucket.create("a", b"second") is None
    stored = bucket.read("a")
    assert stored is not None
    assert stored.body == b"first"


def test_an_object_is_replaced_only_in_the_version_that_was_read(bucket: Bucket) -> None:
    """A stale version replaces nothing."""
    bucket.create("a", b"1")
    stored = bucket.read("a")
    assert stored is not None
    assert bucket.replace("a", b"2", stored.etag)
    assert bucket.replace("a", b"3", stored.etag) is None


def test_a_write_whose_answer_was_lost_is_recognised_by_its_bytes(bucket: Bucket) -> None:
    """Writing the very same bytes again counts as having written them."""
    etag = bucket.create("a", b"mine")
    assert bucket.create("a", b"mine") == etag


def test_of_many_racing_creators_one_wins(bucket: Bucket) -> None:
    """Sixteen threads, one object, one winner."""
    start = threading.Barrier(16)

    def race(number: int) -> str | None:
        start.wait()
        return bucket.create("race", f"{number}".encode())

    with ThreadPoolExecutor(16) as pool:
        assert sum(etag is not None for etag in pool.map(race, range(16))) == 1


def test_only_no_such_key_means_absent(bucket: Bucket, s3: LocalS3) -> None:
    """A missing key is None; a missing bucket is an error that names it."""
    assert bucket.read("nothing") is None
    with pytest.raises(StorageRefused, match="nowhere does not exist"):
        Bucket(s3.client(), "nowhere").read("nothing")


class Note(BaseModel):
    """A document of the tests."""

    text: str


def test_a_document_is_read_as_its_model(bucket: Bucket) -> None:
    """A missing key is None, and a document that is damaged is an error, never taken as missing."""
    assert bucket.read_model("note.json", Note) is None
    bucket.create("note.json", b'{"text": "hello"}')
    assert bucket.read_model("note.json", Note) == Note(text="hello")
    bucket.put("note.json", b'{"text": ', "application/json")
    with pytest.raises(LedgerUnreadable, match="cannot be read") as caught:
        bucket.read_model("note.json", Note)
    assert "Invalid JSON" in caught.value.detail


def test_a_wrong_key_is_refused_not_absent(s3: LocalS3) -> None:
    """No permission is never mistaken for no object."""
    wrong = LocalS3(s3.endpoint, s3.access_key, "wrong")
    with pytest.raises(StorageRefused, match="SignatureDoesNotMatch"):
        Bucket(wrong.client(), BUCKET).read("nothing")


def test_a_store_that_is_not_there_is_unavailable() -> None:
    """A refused connection allows no conclusion about the object."""
    gone = LocalS3(f"http://127.0.0.1:{free_ports(1)[0]}", "a", "b")
    once = gone.client(Config(retries={"total_max_attempts": 1}))
    with pytest.raises(StorageUnavailable, match="did not answer"):
        Bucket(once, BUCKET).read("nothing")


def test_a_file_is_stored_once_and_verified(bucket: Bucket) -> None:
    """The second writer is told that something stands there; the hash is kept with the object."""
    assert bucket.put_file("f", io.BytesIO(b"test"), 4, SHA, "video/mp4")
    assert not bucket.put_file("f", io.BytesIO(b"test"), 4, SHA, "video/mp4")
    assert bucket.head("f").metadata == {"sha256": SHA}


def test_a_file_that_was_damaged_on_the_way_is_not_stored(bucket: Bucket) -> None:
    """Bytes that do not match their hash leave no object."""
    with pytest.raises(StorageRefused):
        bucket.put_file("f", io.BytesIO(b"tast"), 4, SHA, "video/mp4")
    assert bucket.read("f") is None


def test_a_large_file_goes_up_in_parts_and_only_once(bucket_of_parts: Bucket) -> None:
    """Its parts become visible together, or not at all if the key exists."""
    bucket = bucket_of_parts
    content = bytes(range(256)) * 4096 * 12
    assert bucket.put_file("big", io.BytesIO(content), len(content), SHA, "video/mp4")
    copy = io.BytesIO()
    bucket.fetch("big", copy)
    assert copy.getvalue() == content
    assert not bucket.put_file("big", io.BytesIO(content), len(content), SHA, "video/mp4")


def test_an_upload_that_fails_leaves_no_parts_behind(bucket_of_parts: Bucket) -> None:
    """A multipart upload that cannot be finished is aborted."""
    bucket = bucket_of_parts

    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() >= PART_BYTES:
                raise OSError("disk gone")
            return super().read(size)

    with pytest.raises(OSError, match="disk gone"):
        bucket.put_file("big", Broken(bytes(12 * 2**20)), 12 * 2**20, SHA, "video/mp4")
    uploads = bucket._s3.list_multipart_uploads(Bucket=bucket.name, Prefix=bucket.prefix)
    assert uploads.get("Uploads", []) == []
    assert bucket.read("big") is None


def test_an_address_has_its_path_back(bucket: Bucket) -> None:
    """An address of another bucket or prefix is an error, not a path."""
    assert bucket.path_of(bucket.uri("clips/a.mp4")) == "clips/a.mp4"
    for foreign in ("s3://elsewhere/clips/a.mp4", f"s3://{bucket.name}/clips/a.mp4", "clips/a.mp4"):
        with pytest.raises(ValueError, match="is not in"):
            bucket.path_of(foreign)


def test_names_are_relative_and_complete(bucket: Bucket) -> None:
    """Listing gives what stands under a path, without the prefix."""
    for name in ("ledger/open/b", "ledger/open/a", "clips/x"):
        bucket.put(name, b"", "text/plain")
    assert list(bucket.names("ledger/open/")) == ["ledger/open/a", "ledger/open/b"]


def _stubbed(script: Callable[[Stubber], None]) -> Bucket:
    s3: Any = boto3.client(
        "s3",
        region_name="us-east-1",
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=Config(retries={}),
    )
    stub = Stubber(s3)
    script(stub)
    stub.activate()
    return Bucket(s3, "b")


def test_a_conflict_is_settled_by_reading_back_and_trying_again() -> None:
    """AWS answers 409 to racing writers, which no server here does: read back, write again."""

    def racing(stub: Stubber) -> None:
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        stub.add_response("put_object", {"ETag": '"1"'})

    assert _stubbed(racing).create("a", b"mine") == '"1"'


def test_a_conflict_over_a_file_is_tried_again() -> None:
    """409 asks to try again; it does not say that the file stands there."""

    def racing(stub: Stubber) -> None:
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        stub.add_response("put_object", {"ETag": f'"{MD5}"'})

    assert _stubbed(racing).put_file("f", io.BytesIO(b"test"), 4, SHA, "video/mp4")


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InternalError", 500, StorageUnavailable),
        ("SlowDown", 503, StorageUnavailable),
        ("RequestTimeout", 400, StorageUnavailable),
        ("AccessDenied", 403, StorageRefused),
        ("ExpiredToken", 400, StorageRefused),
        ("NoSuchBucket", 404, StorageRefused),
        ("NotImplemented", 501, StorageRefused),
    ],
)
def test_no_other_answer_means_absent(code: str, status: int, kind: type[Exception]) -> None:
    """Every error but NoSuchKey stops the caller, sorted by whether waiting can help."""
    bucket = _stubbed(
        lambda stub: stub.add_client_error("get_object", code, http_status_code=status)
    )
    with pytest.raises(kind, match=code):
        bucket.read("a")


@pytest.mark.parametrize(
    "path", ["ledger/budget.json", "ledger/jobs/a.json", "pending/a.json", "inputs/../ledger/a", ""]
)
def test_no_link_is_made_to_what_nobody_outside_may_read(bucket: Bucket, path: str) -> None:
    """Whoever has a link to a record can read it for a day."""
    with pytest.raises(StorageRefused, match="no link"):
        bucket.sign(path, 60)
