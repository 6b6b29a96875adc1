"""Before anything is paid, a store shows that all must work. A real one gets others' habits."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config

from prefect_kling.deployments.local.seaweed import LocalS3
from prefect_kling.studio.errors import StorageRefused, StudioError
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.preflight import require_usable

Habit = Callable[[Any], None]
FILE = "video/mp4"


def answer(request: Any, status: int, code: str, message: str = "") -> AWSResponse:
    """What a store says that refuses a call."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
    raw = BytesIO(body)
    raw.stream = lambda **_: iter([body])  # type: ignore[attr-defined]
    return AWSResponse(request.url, status, {"Content-Length": str(len(body))}, raw)


def header(request: Any, name: str) -> str:
    """A header of a request that is about to be sent; empty if it has none."""
    value = request.headers.get(name, b"")
    return value.decode() if isinstance(value, bytes) else str(value)


def ignoring(name: str, *, only_files: bool = False) -> Habit:
    """A store that does not look at a condition."""

    def forget(params: dict[str, Any], **_: object) -> None:
        if not only_files or params["headers"].get("Content-Type") == FILE:
            params["headers"].pop(name, None)

    return lambda events: events.register("before-call.s3.PutObject", forget)


def refusing(is_meant: Callable[[Any], bool], status: int, code: str, message: str = "") -> Habit:
    """A store that refuses some requests."""

    def refuse(request: Any, **_: object) -> AWSResponse | None:
        return answer(request, status, code, message) if is_meant(request) else None

    return lambda events: events.register("before-send.s3", refuse)


def has_checksum(request: Any) -> bool:
    """Whether a request carries what newer SDKs add."""
    return any(name.lower().startswith("x-amz-checksum-") for name in request.headers)


def weak_etags(events: Any) -> None:
    """A proxy that compresses, and so marks every ETag as weak; conditions compare strongly."""

    def weaken(parsed: dict[str, Any], **_: object) -> None:
        if "ETag" in parsed:
            parsed["ETag"] = f"W/{parsed['ETag']}"

    events.register("after-call.s3", weaken)
    refusing(
        lambda request: header(request, "If-Match").startswith("W/"), 412, "PreconditionFailed"
    )(events)


def damaging_files(events: Any) -> None:
    """A store that keeps other bytes than it was sent, and does not compare."""

    def damage(params: dict[str, Any], **_: object) -> None:
        if params["headers"].get("Content-Type") == FILE:
            params["body"] = BytesIO(b"x" * params["body"].seek(0, 2))
            params["headers"].pop("Content-MD5", None)

    events.register("before-call.s3.PutObject", damage)


def returning_old_records(events: Any) -> None:
    """A cache before the store that gives out what it knows."""

    def remember(parsed: dict[str, Any], **_: object) -> None:
        parsed["Body"] = BytesIO(b"1")

    events.register("after-call.s3.GetObject", remember)


def with_habit(s3: LocalS3, bucket: Bucket, habit: Habit, config: Config | None = None) -> Bucket:
    """The real store, reached by a client that gives it a habit."""
    client = s3.client(config)
    habit(client.meta.events)
    return Bucket(client, bucket.name, bucket.prefix)


CALLS = 13
"""Requests that the proof takes."""
WHEN_REQUIRED = Config(
    request_checksum_calculation="when_required", response_checksum_validation="when_required"
)


@pytest.mark.parametrize(
    ("habit", "config"),
    [
        pytest.param(lambda events: None, None, id="as it is"),
        pytest.param(weak_etags, None, id="weak ETags"),
        pytest.param(
            refusing(has_checksum, 400, "InvalidArgument", "Unsupported header"),
            WHEN_REQUIRED,
            id="knows no checksums, and the config says so",
        ),
    ],
)
def test_a_store_that_can_do_all_is_accepted_and_left_clean(
    habit: Habit, config: Config | None, s3: LocalS3, bucket: Bucket
) -> None:
    """Then a file can be stored, too, and nothing of the proof is left."""
    store = with_habit(s3, bucket, habit, config)
    require_usable(store)
    assert list(bucket.names("")) == []
    assert store.put_file("clip", BytesIO(b"film"), 4, sha256(b"film").hexdigest(), FILE)


@pytest.mark.parametrize(
    ("habit", "words"),
    [
        pytest.param(ignoring("If-None-Match"), "ignores conditional writes", id="If-None-Match"),
        pytest.param(ignoring("If-Match"), "ignores conditional writes", id="If-Match"),
        pytest.param(
            ignoring("If-None-Match", only_files=True), "of files", id="If-None-Match of files"
        ),
        pytest.param(
            refusing(lambda request: header(request, "If-Match") != "", 412, "PreconditionFailed"),
            "refuses If-Match with the ETag that it gave itself",
            id="no condition ever holds",
        ),
        pytest.param(
            refusing(lambda request: header(request, "Content-Type") == FILE, 403, "AccessDenied"),
            "AccessDenied",
            id="takes records and no files",
        ),
        pytest.param(
            refusing(
                has_checksum, 400, "InvalidArgument", "Unsupported header 'x-amz-checksum-crc32'"
            ),
            "request_checksum_calculation",
            id="knows no checksums",
        ),
        pytest.param(damaging_files, "damaged on its way", id="damages files"),
        pytest.param(returning_old_records, "does not return", id="old records"),
        pytest.param(
            refusing(lambda request: request.method == "DELETE", 403, "AccessDenied"),
            "AccessDenied",
            id="nothing can be removed",
        ),
    ],
)
def test_a_store_that_would_refuse_or_lose_a_paid_video_is_refused(
    habit: Habit, words: str, s3: LocalS3, bucket: Bucket
) -> None:
    """In words that say what it does; and it is asked again the next time."""
    store = with_habit(s3, bucket, habit)
    for _ in range(2):
        with pytest.raises(StudioError, match=words) as refused:
            require_usable(store)
        assert isinstance(refused.value, StorageRefused)


def test_a_store_is_tried_once(s3: LocalS3, bucket: Bucket) -> None:
    """However many clips begin at once; each would cost these calls otherwise."""
    asked = []
    store = with_habit(
        s3, bucket, lambda events: events.register("before-send.s3", lambda **_: asked.append(1))
    )
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(require_usable, [store] * 8))
    calls = len(asked)
    require_usable(store)
    assert calls == len(asked) == CALLS
