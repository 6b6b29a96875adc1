"""Clips that are kept for good: verified before they are visible, stored once, with a record beside each."""

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.job import VideoJob
from prefect_kling.kling.models import ModelUnknown
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import STORED, VideoRequest
from prefect_kling.studio.errors import (
    ArchiveConflict,
    LedgerUnreadable,
    LinkExpired,
    StorageRefused,
    StudioError,
)
from prefect_kling.studio.media.frames import check_playable
from prefect_kling.studio.media.probe import MediaFacts, read_facts
from prefect_kling.studio.money.budget import Budget
from prefect_kling.studio.money.inputs import UploadedInputs, archive_path
from prefect_kling.studio.money.job_index import JobIndex
from prefect_kling.studio.money.ledger import NOTHING, Ledger
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.download import Received, download

# No such host exists (RFC 2606): it stands for "an object of this archive" in requests that are
# planned, hashed or written down, and is replaced by a signed link only on the way to the API.
STANDIN = "https://archive.invalid/"
SIGNED_SECONDS = 24 * 3600
IN_MEMORY_BYTES = 4 * 2**20


class Clip(BaseModel):
    """One archived video and where it came from."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    clip_key: str
    """The key of the order it fulfils."""
    uri: str
    """Where the video is."""
    sha256: str
    """Hash of the stored bytes."""
    bytes: int
    """Length of the stored bytes."""
    media: MediaFacts
    """What the video really is."""
    notes: tuple[str, ...] = ()
    """How it differs from what was ordered."""
    order: ClipOrder
    """What was asked for."""
    job_id: str
    """The paid job."""
    model: str = ""
    """The model as the API names it."""
    listed_usd: Decimal
    """What it costs by the price table."""
    charged_usd: Decimal | None = None
    """What the API says it cost, when it says so."""
    made_in_seconds: float | None = None
    """How long the API took, by its own clock."""
    archived_at: datetime
    """When it was stored."""

    @property
    def usd(self) -> Decimal:
        """What it cost, as well as is known."""
        if self.charged_usd is None:
            return self.listed_usd
        return self.charged_usd


class Archive:
    """One bucket and prefix with clips, frames, films and the ledger beside them.

    All methods block (see `in_thread`), may be repeated, and raise `StudioError`s only.
    """

    def __init__(self, bucket: Bucket, cap_usd: Decimal | None = None) -> None:
        self.bucket = bucket
        self.ledger = Ledger(bucket)
        self.jobs = JobIndex(bucket)
        self.budget = Budget(bucket, cap_usd)
        self.uploads: UploadedInputs | None = None

    def find(self, clip_key: str) -> Clip | None:
        """Return the archived clip of this key, None when there is none. Raises `LedgerUnreadable`."""
        try:
            return self.bucket.read_model(layout.clip_record(clip_key), Clip, STORED)
        except LedgerUnreadable as error:
            error.clip_key = clip_key
            raise

    def clip_uri(self, clip_key: str) -> str:
        """Return where a clip is, or will be."""
        return self.bucket.uri(layout.clip_video(clip_key))

    def keep(
        self,
        order: ClipOrder,
        job: VideoJob,
        charged_usd: Decimal | None = None,
        reserved_usd: Decimal = NOTHING,
    ) -> Clip:
        """Fetch a completed job's video and store it, whole or not at all; a clip that is there is returned as it is.

        `charged_usd` is the API's own figure. Without one the listed price counts, and without
        that, for a model that is not configured here, what was reserved. Differences from the
        order are noted, never refused: a paid video is kept. Memory is bounded. Raises `NotAVideo`
        when the bytes are no playable MP4, `DownloadBroken`, or `LinkExpired` when a fresh link is
        needed.
        """
        key = order.clip_key
        kept = self.find(key)
        if kept is not None:
            return kept
        with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            file = cast("BinaryIO", spool)
            received, facts = self._obtain(key, job, file)
            if not self.bucket.put_file(
                layout.clip_video(key), file, received.size, received.sha256, "video/mp4"
            ):
                received, facts = self._stored(key, file)
        clip = self._describe(order, job, received, facts, reserved_usd)
        clip = clip.model_copy(update={"charged_usd": charged_usd})
        document = clip.model_dump_json(indent=1).encode()
        if self.bucket.create(layout.clip_record(key), document) is None:
            return self._agreed(clip)
        return clip

    def _obtain(self, key: str, job: VideoJob, file: BinaryIO) -> tuple[Received, MediaFacts]:
        """Get the video from its link or, if a run was killed before it wrote the record, from the archive itself."""
        try:
            if not job.urls:
                raise LinkExpired("the API gives no link to the video", job_id=job.job_id)
            received = download(job.urls[0], file)
        except LinkExpired as expired:
            try:
                return self._stored(key, file)
            except StorageRefused:
                raise expired from None
        return received, _facts(file, received, job.job_id)

    def _stored(self, key: str, file: BinaryIO) -> tuple[Received, MediaFacts]:
        """Read back the video that stands in the archive; it was verified before it became visible."""
        file.seek(0)
        file.truncate()
        self.bucket.fetch(layout.clip_video(key), file)
        received = Received(file.seek(0, 2), _sha256(file))
        return received, _facts(file, received, None)

    def _describe(
        self,
        order: ClipOrder,
        job: VideoJob,
        received: Received,
        facts: MediaFacts,
        reserved_usd: Decimal,
    ) -> Clip:
        notes = order.differences(facts.seconds, facts.width, facts.height, facts.audio)
        try:
            listed_usd = quote(order.request, input_seconds=facts.seconds).usd
        except ModelUnknown as error:
            # A paid video is archived even where its model is not configured.
            listed_usd = reserved_usd
            notes.append(f"the listed price is not known here, what was reserved counts: {error}")
        return Clip(
            clip_key=order.clip_key,
            uri=self.clip_uri(order.clip_key),
            sha256=received.sha256,
            bytes=received.size,
            media=facts,
            notes=tuple(notes),
            order=order,
            job_id=job.job_id,
            model=job.model,
            listed_usd=listed_usd,
            made_in_seconds=job.seconds,
            archived_at=datetime.now(UTC),
        )

    def _agreed(self, clip: Clip) -> Clip:
        """Return the record another process wrote meanwhile; it must be about the same bytes."""
        other = self.find(clip.clip_key)
        if other is None or other.sha256 != clip.sha256:
            what = f"the record of {clip.uri} speaks of other bytes"
            raise ArchiveConflict(what, clip_key=clip.clip_key, job_id=clip.job_id)
        return other

    def copy_out(self, clip: Clip, file: BinaryIO) -> None:
        """Copy an archived clip into an open file and check that it is the recorded one."""
        self.bucket.fetch(layout.clip_video(clip.clip_key), file)
        if _sha256(file) != clip.sha256:
            raise ArchiveConflict(
                f"{clip.uri} is not the video that was recorded", clip_key=clip.clip_key
            )

    def sign_inputs(self, request: VideoRequest) -> VideoRequest:
        """Return the request with every stand-in address replaced by one that the API can fetch.

        This is a signed link that works for a day or, with `uploads`, the address of an upload.
        """

        def sign(url: str) -> str:
            path = archive_path(url)
            if path is None:
                return url
            if self.uploads is not None:
                return self.uploads.address(self.bucket, path)
            return self.bucket.sign(path, SIGNED_SECONDS)

        images = [
            image.model_copy(update={"image_url": sign(image.image_url)})
            for image in request.image_list
        ]
        videos = [
            video.model_copy(update={"video_url": sign(video.video_url)})
            for video in request.video_list
        ]
        return request.model_copy(update={"image_list": images, "video_list": videos})


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    return hashlib.file_digest(cast("BytesIO", file), "sha256").hexdigest()


def _facts(file: BinaryIO, received: Received, job_id: str | None) -> MediaFacts:
    file.seek(0)
    try:
        facts = read_facts(file, received.size)
        check_playable(file)
    except StudioError as error:
        error.job_id = job_id
        raise
    return facts
