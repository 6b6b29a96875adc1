"""One S3 bucket and prefix, and the few operations durable clips need, conditional writes among them."""

import asyncio
import base64
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, ParamSpec, TypeVar, cast

import anyio.to_thread
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from pydantic import BaseModel, ValidationError
from s3transfer.utils import ReadFileChunk

from prefect_kling.studio.errors import (
    LedgerUnreadable,
    StorageRefused,
    StorageUnavailable,
    StudioError,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 64 * 2**20
MULTIPART_ABOVE_BYTES = 256 * 2**20
CONFLICT_TRIES = 5
CONFLICT_PAUSE = 0.2

P = ParamSpec("P")
T = TypeVar("T")
Model = TypeVar("Model", bound=BaseModel)


async def in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking storage call in a thread."""
    return await anyio.to_thread.run_sync(lambda: call(*args, **kwargs))


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Finish a piece of work even when the caller is cancelled meanwhile; the cancellation is passed on afterwards.

    A task of its own holds the work, because a cancellation may come from asyncio (Ctrl-C, a cancelled `gather`),
    against which a cancel scope alone is no shield.
    """
    task, cancelled = asyncio.ensure_future(work), None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        task.exception()
        raise cancelled
    return task.result()


@dataclass(frozen=True)
class Stored:
    """An object as it was read."""

    uri: str
    """Where it is."""
    body: bytes
    etag: str
    """Its version."""
    age_seconds: float
    """How old this version is, by the store's own clock."""

    def parse(self, model: type[Model], context: object = None) -> Model:
        """Return the body, which is JSON, as a pydantic model.

        `context` is handed to the model's validators. Raises `LedgerUnreadable` when the body is not such a model.
        """
        try:
            return model.model_validate_json(self.body, context=context)
        except ValidationError as error:
            raise LedgerUnreadable(f"{self.uri} cannot be read", detail=str(error)[:300]) from None


@dataclass(frozen=True)
class Head:
    """What a store says about an object without sending it."""

    size: int
    metadata: Mapping[str, str]


class Bucket:
    """A bucket and prefix. Every method blocks (see `in_thread`) and may be repeated.

    Paths are relative to the prefix. Every failure but "no such key" raises: `StorageUnavailable` when no
    conclusion is possible, `StorageRefused` when somebody has to fix something.
    """

    def __init__(self, s3: "S3Client", name: str, prefix: str = "") -> None:
        self._s3, self.name = s3, name
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def __repr__(self) -> str:
        return f"Bucket({self.uri('')!r})"

    def uri(self, path: str) -> str:
        """Return the `s3://` address of a path."""
        return f"s3://{self.name}/{self.prefix}{path}"

    def read(self, path: str) -> Stored | None:
        """Read a small object; None only when the store says that the key does not exist."""
        with self._errors(path):
            try:
                answer = self._s3.get_object(Bucket=self.name, Key=self.prefix + path)
            except ClientError as error:
                if _code(error) == "NoSuchKey":
                    return None
                raise
            age = _age(answer["ResponseMetadata"]["HTTPHeaders"], answer["LastModified"])
            return Stored(self.uri(path), answer["Body"].read(), answer["ETag"], age)

    def read_model(self, path: str, model: type[Model], context: object = None) -> Model | None:
        """Read a JSON document as a pydantic model; None only when the key does not exist.

        `context` is handed to the model's validators. Raises `LedgerUnreadable` when the document is not such a model.
        To replace a document later, `read` it and `parse` what was read: that also gives its ETag.
        """
        stored = self.read(path)
        if stored is None:
            return None
        return stored.parse(model, context)

    def create(self, path: str, body: bytes, content_type: str = "application/json") -> str | None:
        """Write an object that must not exist yet; return its ETag, or None when somebody else's stands there.

        A lost answer is settled by reading back, so the body should be unique to its writer.
        """
        return self._write(path, body, content_type, {"IfNoneMatch": "*"})

    def replace(
        self, path: str, body: bytes, etag: str, content_type: str = "application/json"
    ) -> str | None:
        """Overwrite exactly the version `etag`; return the new ETag, or None when the object has changed."""
        return self._write(path, body, content_type, {"IfMatch": etag})

    def _write(
        self, path: str, body: bytes, content_type: str, condition: Mapping[str, Any]
    ) -> str | None:
        """Put under a condition; 412 and 409 are decided by what stands there afterwards."""
        for _ in range(CONFLICT_TRIES):
            try:
                with self._errors(path):
                    answer = self._s3.put_object(
                        Bucket=self.name,
                        Key=self.prefix + path,
                        Body=body,
                        ContentType=content_type,
                        **condition,
                    )
                    return answer["ETag"]
            except _ConditionFailedError as failed:
                stored = self.read(path)
                if stored is not None and stored.body == body:
                    return stored.etag
                if failed.final:
                    return None
            time.sleep(CONFLICT_PAUSE)
        raise StorageUnavailable(f"{self.uri(path)} is being written by many at once")

    def put_file(
        self, path: str, file: BinaryIO, size: int, sha256: str, content_type: str
    ) -> bool:
        """Store a whole file that must not exist yet; False when something already stands there.

        The store verifies the content (SHA-256 up to 256 MB, CRC of each part above) before anything is visible.
        """
        put = self._put_parts if size > MULTIPART_ABOVE_BYTES else self._put_whole
        for _ in range(CONFLICT_TRIES):
            try:
                with self._errors(path):
                    put(self.prefix + path, file, size, sha256, content_type)
                    return True
            except _ConditionFailedError as failed:
                if failed.final:
                    return False
            time.sleep(CONFLICT_PAUSE)
        raise StorageUnavailable(f"{self.uri(path)} is being written by many at once")

    def _put_whole(
        self, key: str, file: BinaryIO, size: int, sha256: str, content_type: str
    ) -> None:
        file.seek(0)
        self._s3.put_object(
            Bucket=self.name,
            Key=key,
            Body=file,
            ContentLength=size,
            ContentType=content_type,
            ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
            Metadata={"sha256": sha256},
            IfNoneMatch="*",
        )

    def _put_parts(
        self, key: str, file: BinaryIO, size: int, sha256: str, content_type: str
    ) -> None:
        metadata = {"sha256": sha256}
        where: dict[str, Any] = {"Bucket": self.name, "Key": key}
        upload = self._s3.create_multipart_upload(
            **where, ContentType=content_type, Metadata=metadata
        )["UploadId"]
        try:
            parts: list[CompletedPartTypeDef] = []
            for number, start in enumerate(range(0, size, PART_BYTES), start=1):
                file.seek(start)
                chunk = ReadFileChunk(file, min(PART_BYTES, size - start), size)
                part = self._s3.upload_part(
                    **where, UploadId=upload, PartNumber=number, Body=cast("BinaryIO", chunk)
                )
                parts.append({"ETag": part["ETag"], "PartNumber": number})
            self._s3.complete_multipart_upload(
                **where, UploadId=upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            self._s3.abort_multipart_upload(**where, UploadId=upload)
            raise

    def head(self, path: str) -> Head:
        """Ask about an object that is known to exist."""
        with self._errors(path):
            answer = self._s3.head_object(Bucket=self.name, Key=self.prefix + path)
            return Head(answer["ContentLength"], answer["Metadata"])

    def fetch(self, path: str, file: BinaryIO) -> None:
        """Copy an object into an open file, in small pieces."""
        with self._errors(path):
            body = self._s3.get_object(Bucket=self.name, Key=self.prefix + path)["Body"]
            for piece in body.iter_chunks(2**20):
                file.write(piece)

    def put(self, path: str, body: bytes, content_type: str) -> None:
        """Write an object whatever stood there before."""
        with self._errors(path):
            self._s3.put_object(
                Bucket=self.name, Key=self.prefix + path, Body=body, ContentType=content_type
            )

    def delete(self, path: str) -> None:
        """Remove an object; no error when it is not there."""
        with self._errors(path):
            self._s3.delete_object(Bucket=self.name, Key=self.prefix + path)

    def names(self, path: str) -> Iterator[str]:
        """List what stands under a path, a page at a time, as paths relative to the prefix."""
        return (name for name, _ in self.ages(path))

    def ages(self, path: str) -> Iterator[tuple[str, float]]:
        """List what stands under a path with its age in seconds by the store's own clock."""
        with self._errors(path):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.name, Prefix=self.prefix + path
            )
            for page in pages:
                headers = page["ResponseMetadata"]["HTTPHeaders"]
                for item in page.get("Contents", []):
                    yield item["Key"].removeprefix(self.prefix), _age(headers, item["LastModified"])

    def sign(self, path: str, seconds: int) -> str:
        """Return a link that lets anyone read one object for some time. Never log or store it."""
        with self._errors(path):
            return self._s3.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.name, "Key": self.prefix + path},
                ExpiresIn=seconds,
            )

    def require_conditional_writes(self) -> None:
        """Refuse a store that ignores `If-None-Match` or `If-Match`: with it, two writers could both win and both pay.

        Costs a few small writes, once per Bucket; `KlingArchive` keeps one Bucket for a process.
        """
        if not self._keeps_conditions:
            what = f"{self.uri('')} ignores conditional writes, so two runs could pay for the same clip"
            raise StorageRefused(what)

    @cached_property
    def _keeps_conditions(self) -> bool:
        probe = f"ledger/probe-{secrets.token_hex(8)}"
        first = self.create(probe, b"1")
        try:
            return (
                first is not None
                and self.create(probe, b"2") is None
                and not self.replace(probe, b"3", '"0"')
            )
        finally:
            self.delete(probe)

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Turn the store's errors into the studio's."""
        try:
            yield
        except ClientError as error:
            raise self._explain(error, path) from None
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StorageRefused(
                f"there are no credentials for {self.uri('')}", detail=str(error)
            ) from None
        except BotoCoreError as error:
            raise StorageUnavailable(
                f"the store behind {self.uri(path)} did not answer", detail=str(error)
            ) from None

    def _explain(self, error: ClientError, path: str) -> StudioError:
        code, status = _code(error), int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        if status in (409, 412) and code in (
            "PreconditionFailed",
            "ConditionalRequestConflict",
            "412",
            "409",
        ):
            return _ConditionFailedError(f"{self.uri(path)} has changed", final=status == 412)
        words = f"{code}: {error.response['Error'].get('Message', '')}"
        if code == "NoSuchBucket":
            return StorageRefused(
                f"the bucket {self.name} does not exist", status=status, detail=words
            )
        if status == 501:
            return StorageRefused(
                f"the store cannot do what {self.uri(path)} needs", status=status, detail=words
            )
        if (
            status >= 500
            or status in (408, 429)
            or code in ("RequestTimeout", "SlowDown", "Throttling")
        ):
            return StorageUnavailable(
                f"the store failed at {self.uri(path)}", status=status, detail=words
            )
        if status == 404:
            return StorageRefused(f"{self.uri(path)} is not there", status=status, detail=words)
        return StorageRefused(f"the store refused {self.uri(path)}", status=status, detail=words)


class _ConditionFailedError(StudioError):
    """A conditional write did not take place; `final` unless the store asked to try again (409)."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


def _code(error: ClientError) -> str:
    return str(error.response["Error"].get("Code", ""))


def _age(headers: Mapping[str, str], modified: datetime) -> float:
    """Seconds since a change, by the store's clock on both ends; a store that tells no time makes nothing old."""
    now = headers.get("date")
    return max(0.0, (parsedate_to_datetime(now) - modified).total_seconds()) if now else 0.0
