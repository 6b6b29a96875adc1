"""One S3 bucket and prefix: reading, listing, conditional writes and uploads."""

import base64
import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from io import BytesIO
from tempfile import TemporaryFile
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    PartialCredentialsError,
)
from pydantic import BaseModel, ValidationError
from s3transfer.utils import ReadFileChunk

from prefect_kling.kling.http_logs import hide_links_in_logs
from prefect_kling.studio.errors import (
    LedgerUnreadable,
    StorageRefused,
    StorageUnavailable,
    StudioError,
)
from prefect_kling.studio.storage import layout

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef

PART_BYTES = 64 * 2**20
MULTIPART_ABOVE_BYTES = 256 * 2**20
CONFLICT_TRIES = 5
# At DEBUG they write what is signed, the signature and, of some accounts, a token.
S3_LOGGERS = (
    "botocore.auth",
    "botocore.endpoint",
    "botocore.hooks",
    "botocore.httpsession",
    "botocore.parsers",
    "botocore.signers",
    "urllib3.connectionpool",
)
CONFLICT_PAUSE_SECONDS = 0.2

Model = TypeVar("Model", bound=BaseModel)


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

        `context` is passed to the model's validators. Raises `LedgerUnreadable` if the body is
        not such a model.
        """
        try:
            return model.model_validate_json(self.body, context=context)
        except ValidationError as error:
            detail = str(error)[:300]
            raise LedgerUnreadable(f"{self.uri} cannot be read", detail=detail) from None


@dataclass(frozen=True)
class Head:
    """What the store says about an object without sending it."""

    size: int
    """Length in bytes."""
    metadata: Mapping[str, str]


class Bucket:
    """An S3 bucket and a prefix in it. Paths are relative to the prefix.

    Every method blocks (see `concurrency.in_thread`) and may be repeated. A key that does not exist
    is an answer; every other failure raises: `StorageUnavailable` if the store did not answer or
    failed, so that nothing is known about the object, and `StorageRefused` if somebody has to fix
    the bucket, its permissions or the request.

    Files larger than `multipart_above_bytes` are uploaded in parts of `part_bytes`; S3 takes parts
    of 5 MiB and more.
    """

    def __init__(
        self,
        s3: "S3Client",
        name: str,
        prefix: str = "",
        *,
        part_bytes: int = PART_BYTES,
        multipart_above_bytes: int = MULTIPART_ABOVE_BYTES,
    ) -> None:
        hide_links_in_logs(*S3_LOGGERS)
        self._s3 = s3
        self._part_bytes = part_bytes
        self._multipart_above_bytes = multipart_above_bytes
        self.name = name
        self.is_proven = False
        """Whether the store has shown what it must be able to do (see `preflight`)."""
        self.proving = Lock()
        """Held while it shows that, so that it does so once."""
        self.prefix = prefix.strip("/")
        if self.prefix:
            self.prefix += "/"

    def __repr__(self) -> str:
        return f"Bucket({self.uri('')!r})"

    def uri(self, path: str) -> str:
        """Return the `s3://` address of a path."""
        return f"s3://{self.name}/{self.prefix}{path}"

    def path_of(self, uri: str) -> str:
        """Return the path of an `s3://` address; raises `ValueError` if it is not in here."""
        root = self.uri("")
        if not uri.startswith(root):
            raise ValueError(f"{uri} is not in {root}")
        return uri.removeprefix(root)

    def read(self, path: str) -> Stored | None:
        """Read a small object; None only if the store says that the key does not exist."""
        with self._errors(path):
            try:
                answer = self._s3.get_object(Bucket=self.name, Key=self.prefix + path)
            except ClientError as error:
                if _code(error) == "NoSuchKey":
                    return None
                raise
            age = _age_seconds(answer["ResponseMetadata"]["HTTPHeaders"], answer["LastModified"])
            return Stored(self.uri(path), answer["Body"].read(), _strong(answer["ETag"]), age)

    def read_model(self, path: str, model: type[Model], context: object = None) -> Model | None:
        """Read a JSON document as a pydantic model; None only if the key does not exist.

        `context` is passed to the model's validators. Raises `LedgerUnreadable` if the document is
        not such a model. To replace a document later, `read` it and `parse` the result: that also
        gives its ETag.
        """
        stored = self.read(path)
        if stored is None:
            return None
        return stored.parse(model, context)

    def create(self, path: str, body: bytes, content_type: str = "application/json") -> str | None:
        """Write an object if its key does not exist yet, and return its ETag.

        Returns None if another object is there. If the store's answer is lost, the object is read
        back and compared, so the body should be unique to its writer.
        """
        return self._put_if(path, body, content_type, {"IfNoneMatch": "*"})

    def replace(
        self, path: str, body: bytes, etag: str, content_type: str = "application/json"
    ) -> str | None:
        """Overwrite the version with this ETag and return the new ETag.

        Returns None if the object has changed. A lost answer is settled as in `create`.
        """
        return self._put_if(path, body, content_type, {"IfMatch": etag})

    def _put_if(
        self, path: str, body: bytes, content_type: str, condition: Mapping[str, Any]
    ) -> str | None:
        """Write an object under a condition.

        412 says that the condition does not hold, 409 that somebody else is writing. boto3 repeats
        a request whose answer was lost, and then either may be about our own first write: what is
        in the store afterwards decides.
        """
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
                    return _strong(answer["ETag"])
            except _ConditionFailedError as failed:
                stored = self.read(path)
                if stored is not None and stored.body == body:
                    return stored.etag
                if failed.final:
                    return None
            time.sleep(CONFLICT_PAUSE_SECONDS)
        raise StorageUnavailable(f"{self.uri(path)} is being written by many at once")

    def put_file(
        self, path: str, file: BinaryIO, size: int, sha256: str, content_type: str
    ) -> bool:
        """Store a whole file if its key does not exist yet; return False if an object is there.

        The store checks the content before anything is visible: by MD5 if the file is sent in one
        piece, by a CRC of each part if it is sent in parts. A file whose SHA-256 is another by now
        is not sent.
        """
        for _ in range(CONFLICT_TRIES):
            try:
                with self._errors(path):
                    if size > self._multipart_above_bytes:
                        self._put_parts(self.prefix + path, file, size, sha256, content_type)
                    else:
                        self._put_whole(self.prefix + path, file, size, sha256, content_type)
                    return True
            except _ConditionFailedError as failed:
                if failed.final:
                    return False
            time.sleep(CONFLICT_PAUSE_SECONDS)
        raise StorageUnavailable(f"{self.uri(path)} is being written by many at once")

    def _put_whole(
        self, key: str, file: BinaryIO, size: int, sha256: str, content_type: str
    ) -> None:
        if _sha256(file) != sha256:
            raise StorageRefused(f"the file for {key} is not the one that was checked")
        # Content-MD5 is older than the checksum headers, and every store takes it.
        file.seek(0)
        md5 = hashlib.file_digest(cast("BytesIO", file), _md5)
        file.seek(0)
        answer = self._s3.put_object(
            Bucket=self.name,
            Key=key,
            Body=file,
            ContentLength=size,
            ContentType=content_type,
            ContentMD5=base64.b64encode(md5.digest()).decode(),
            Metadata={"sha256": sha256},
            IfNoneMatch="*",
        )
        if _strong(answer["ETag"]).strip('"') != md5.hexdigest():
            self._compare(key, sha256)

    def _compare(self, key: str, sha256: str) -> None:
        """Read a file back whose store does not say by its ETag that the content is right."""
        with TemporaryFile() as copy:
            body = self._s3.get_object(Bucket=self.name, Key=key)["Body"]
            for piece in body.iter_chunks(2**20):
                copy.write(piece)
            if _sha256(cast("BinaryIO", copy)) != sha256:
                self._s3.delete_object(Bucket=self.name, Key=key)
                raise StorageRefused(f"s3://{self.name}/{key} was damaged on its way to the store")

    def _put_parts(
        self, key: str, file: BinaryIO, size: int, sha256: str, content_type: str
    ) -> None:
        upload: dict[str, Any] = {"Bucket": self.name, "Key": key}
        created = self._s3.create_multipart_upload(
            **upload, ContentType=content_type, Metadata={"sha256": sha256}
        )
        upload["UploadId"] = created["UploadId"]

        try:
            parts: list[CompletedPartTypeDef] = []
            for number, start in enumerate(range(0, size, self._part_bytes), start=1):
                file.seek(start)
                length = min(self._part_bytes, size - start)
                chunk = cast("BinaryIO", ReadFileChunk(file, length, size))
                part = self._s3.upload_part(**upload, PartNumber=number, Body=chunk)
                parts.append({"ETag": part["ETag"], "PartNumber": number})
            self._s3.complete_multipart_upload(
                **upload, MultipartUpload={"Parts": parts}, IfNoneMatch="*"
            )
        except BaseException:
            self._s3.abort_multipart_upload(**upload)
            raise

    def head(self, path: str) -> Head:
        """Return size and metadata of an object that exists; it is an error if it does not."""
        with self._errors(path):
            answer = self._s3.head_object(Bucket=self.name, Key=self.prefix + path)
            return Head(answer["ContentLength"], answer["Metadata"])

    def fetch(self, path: str, file: BinaryIO) -> None:
        """Copy an object into an open file, in pieces of 1 MiB."""
        with self._errors(path):
            body = self._s3.get_object(Bucket=self.name, Key=self.prefix + path)["Body"]
            for piece in body.iter_chunks(2**20):
                file.write(piece)

    def put(self, path: str, body: bytes, content_type: str) -> None:
        """Write an object, whether or not the key exists."""
        with self._errors(path):
            self._s3.put_object(
                Bucket=self.name, Key=self.prefix + path, Body=body, ContentType=content_type
            )

    def put_stream(self, path: str, file: BinaryIO, content_type: str) -> None:
        """Write what an open file holds, whether or not the key exists. The file is closed by it.

        boto3 sends large files in parts.
        """
        file.seek(0)
        with self._errors(path):
            self._s3.upload_fileobj(
                file, self.name, self.prefix + path, {"ContentType": content_type}
            )

    def delete(self, path: str) -> None:
        """Remove an object; no error if it does not exist."""
        with self._errors(path):
            self._s3.delete_object(Bucket=self.name, Key=self.prefix + path)

    def names(self, path: str) -> Iterator[str]:
        """Yield the paths that begin with this one. Costs one request per thousand."""
        for name, _ in self.ages(path):
            yield name

    def ages(self, path: str) -> Iterator[tuple[str, float]]:
        """Yield the paths that begin with this one, with their ages in seconds (store clock)."""
        with self._errors(path):
            paginator = self._s3.get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=self.name, Prefix=self.prefix + path):
                headers = page["ResponseMetadata"]["HTTPHeaders"]
                for item in page.get("Contents", []):
                    name = item["Key"].removeprefix(self.prefix)
                    yield name, _age_seconds(headers, item["LastModified"])

    def sign(self, path: str, seconds: int) -> str:
        """Return a link with which anyone can read one object for some time.

        No request is made. The link is a secret: never log or store it. Raises `StorageRefused` for
        objects of which nobody may have a link, such as the records of the ledger.
        """
        if not path.startswith(layout.SIGNED_FOLDERS) or ".." in path:
            raise StorageRefused(f"no link is made to {self.uri(path)}")
        with self._errors(path):
            return self._s3.generate_presigned_url(
                "get_object",
                Params={"Bucket": self.name, "Key": self.prefix + path},
                ExpiresIn=seconds,
            )

    @contextmanager
    def _errors(self, path: str) -> Iterator[None]:
        """Turn boto3's errors into `StudioError`s."""
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
        code = _code(error)
        status = int(error.response["ResponseMetadata"]["HTTPStatusCode"])
        detail = f"{code}: {error.response['Error'].get('Message', '')}"
        uri = self.uri(path)

        if status in (409, 412) and code in _CONDITION_CODES:
            return _ConditionFailedError(f"{uri} has changed", final=status == 412)
        if code == "NoSuchBucket":
            return StorageRefused(
                f"the bucket {self.name} does not exist", status=status, detail=detail
            )
        if status in (400, 501) and any(word in detail.lower() for word in _CHECKSUM_WORDS):
            return StorageRefused(
                f"the store does not know the checksums that {uri} was sent with: set "
                "request_checksum_calculation and response_checksum_validation to when_required in "
                "the config of the archive's AwsClientParameters",
                status=status,
                detail=detail,
            )
        if status == 501:
            return StorageRefused(
                f"the store cannot do what {uri} needs", status=status, detail=detail
            )
        if status >= 500 or status in (408, 429) or code in _BUSY_CODES:
            return StorageUnavailable(f"the store failed at {uri}", status=status, detail=detail)
        if status == 404:
            return StorageRefused(f"{uri} is not there", status=status, detail=detail)
        return StorageRefused(f"the store refused {uri}", status=status, detail=detail)


_CONDITION_CODES = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_CHECKSUM_WORDS = ("checksum", "x-amz-trailer", "content-md5", "streaming-unsigned-payload")
_BUSY_CODES = ("RequestTimeout", "SlowDown", "Throttling")


class _ConditionFailedError(StudioError):
    """A conditional write did not take place; `final` unless the store asked to try again (409)."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


_md5 = partial(hashlib.md5, usedforsecurity=False)


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    return hashlib.file_digest(cast("BytesIO", file), "sha256").hexdigest()


def _strong(etag: str) -> str:
    """Return an ETag as S3 gives it: a compressing proxy marks it as weak."""
    return etag.removeprefix("W/")


def _code(error: ClientError) -> str:
    return str(error.response["Error"].get("Code", ""))


def _age_seconds(headers: Mapping[str, str], modified: datetime) -> float:
    """Return how long ago a change was, by the store's clock alone; 0 if it tells no time."""
    now = headers.get("date")
    if not now:
        return 0.0
    age = parsedate_to_datetime(now) - modified
    return max(0.0, age.total_seconds())
