"""What a store must be able to do: proved before paying, by the calls needed afterwards."""

import secrets
from contextlib import suppress
from hashlib import sha256
from io import BytesIO

from prefect_kling.studio.errors import StorageRefused, StudioError
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket


def require_usable(bucket: Bucket) -> None:
    """Raise `StorageRefused` if a store cannot do what keeps money and paid videos safe.

    Records are created, replaced, read and removed, a file is stored, and each condition is tried
    on both sides: a store that ignores it would let two runs pay, one that refuses what holds would
    refuse a paid video. Costs some small requests, once per `Bucket`; `KlingArchive` keeps one
    Bucket per process. Leaves nothing behind.
    """
    with bucket.proving:
        if not bucket.is_proven:
            _prove(bucket)
            bucket.is_proven = True


def _prove(bucket: Bucket) -> None:
    record = layout.write_probe(secrets.token_hex(8))
    file = layout.write_probe(secrets.token_hex(8))
    try:
        _prove_records(bucket, record)
        _prove_files(bucket, file)
    except BaseException:
        for path in (record, file):
            with suppress(StudioError):
                bucket.delete(path)
        raise
    bucket.delete(record)
    bucket.delete(file)


def _prove_records(bucket: Bucket, path: str) -> None:
    etag = bucket.create(path, b"1")
    if etag is None:
        raise _unfit(bucket, "says that an object is there which nobody has written")
    if bucket.create(path, b"2") is not None or bucket.replace(path, b"3", '"0"') is not None:
        raise _unfit(bucket, "ignores conditional writes, so two runs could pay for the same clip")
    replaced = bucket.replace(path, b"4", etag)
    if replaced is None:
        raise _unfit(
            bucket,
            "refuses If-Match with the ETag that it gave itself, so the record of a paid clip "
            "could not be written; a proxy before it may change ETags",
        )
    stored = bucket.read(path)
    if stored is None or stored.body != b"4" or stored.etag != replaced:
        raise _unfit(
            bucket, "does not return what was just written, so a paid clip could be overlooked"
        )


def _prove_files(bucket: Bucket, path: str) -> None:
    content = secrets.token_bytes(64)
    digest = sha256(content).hexdigest()

    def store() -> bool:
        return bucket.put_file(path, BytesIO(content), len(content), digest, "video/mp4")

    # False may also say that the answer to our own first write was lost.
    store()
    if store():
        raise _unfit(
            bucket, "ignores conditional writes of files, so one clip could replace another"
        )
    copy = BytesIO()
    bucket.fetch(path, copy)
    if copy.getvalue() != content or bucket.head(path).size != len(content):
        raise _unfit(bucket, "does not return the file that was just stored")


def _unfit(bucket: Bucket, why: str) -> StorageRefused:
    return StorageRefused(f"{bucket.uri('')} {why}")
