"""Clips that are kept for good: verified, then stored once, each with its record."""

import gzip
import hashlib
import shutil
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from io import BytesIO
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from pydantic import BaseModel, ConfigDict

from prefect_kling.kling.job import JobState, VideoJob
from prefect_kling.kling.links import without_query
from prefect_kling.kling.models import ModelUnknown
from prefect_kling.kling.prices import quote
from prefect_kling.kling.request import STORED, VideoRequest
from prefect_kling.kling.result_access import PUBLIC_ONLY, ResultAccess
from prefect_kling.kling.server_words import without_secrets, words
from prefect_kling.studio.errors import (
    ArchiveConflict,
    DownloadBroken,
    LedgerUnreadable,
    LinkExpired,
    NotAVideo,
    StorageRefused,
    StudioError,
    VideoQuarantined,
)
from prefect_kling.studio.media.frames import check_every_picture
from prefect_kling.studio.media.oddities import oddities
from prefect_kling.studio.media.picture_checks import PictureChecks, PictureReport, Suspicion
from prefect_kling.studio.media.probe import MediaFacts, inspect
from prefect_kling.studio.money.budget import Budget
from prefect_kling.studio.money.clip_checks import check_clip
from prefect_kling.studio.money.inputs import UploadedInputs, archive_path
from prefect_kling.studio.money.job_index import JobIndex
from prefect_kling.studio.money.ledger import NOTHING, Ledger
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.quarantine import Quarantine, QuarantinedFile
from prefect_kling.studio.money.result_files import fetch_result
from prefect_kling.studio.money.seen_pictures import seen_pictures
from prefect_kling.studio.storage import layout
from prefect_kling.studio.storage.bucket import Bucket
from prefect_kling.studio.storage.download import PAUSE_SECONDS, Received, Stop

# No such host exists (RFC 2606): it stands for "an object of this archive" in requests that are
# planned, hashed or written down, and is replaced by a signed link only on the way to the API.
ARCHIVE_URL = "https://archive.invalid/"
SIGNED_SECONDS = 24 * 3600
IN_MEMORY_BYTES = 4 * 2**20
UNPACKED_BYTES = 2**29
"""A gzip file that holds more is not unpacked; 15 s of video need a tenth of it."""
_LONGEST_ADDRESS = 300

_PICTURES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM")
_USUAL_TYPES = ("", "video/mp4", "video/quicktime", "application/octet-stream",
                "binary/octet-stream")  # fmt: skip


@dataclass(frozen=True)
class FetchPolicy:
    """How often to try to fetch a finished video, each time with a fresh read of its job."""

    tries: int = 3
    pause_seconds: float = 2.0
    """Pause after the first try, doubled with each."""
    download_pause_seconds: float = PAUSE_SECONDS
    """Pause after an attempt within one download that brought nothing, doubled with each."""
    confirm_seconds: float = 5.0
    """Pause between two reads of a job that is in a state nobody knows and has a link."""
    watch_seconds: float = 2.0
    """Pause between two looks at the open clips, while a receiver may finish them."""
    receiver_seconds: float = 30.0
    """How long a receiver is left to fetch the clip alone, when a poll sees the job's end first."""


@dataclass(frozen=True)
class _Obtained:
    """A video that was verified."""

    received: Received
    facts: MediaFacts
    notes: tuple[str, ...] = ()
    pictures: PictureReport | None = None


@dataclass(frozen=True)
class _Fetching:
    """One try to get the video of an order."""

    order: ClipOrder
    access: ResultAccess
    stop: Stop
    is_last_try: bool


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
    """How it differs from what was ordered, and what is suspicious about it."""
    pictures: PictureReport | None = None
    """What the checks of its pictures and sound found; None if it was not checked."""
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

    @property
    def suspicions(self) -> tuple[Suspicion, ...]:
        """What is suspicious about its pictures and its sound."""
        if self.pictures is None:
            return ()
        return self.pictures.suspicions

    @property
    def suspect(self) -> str:
        """The rules it breaks, in words such as `black, silent`; empty for a clip like any."""
        return ", ".join(each.rule for each in self.suspicions)


class Archive:
    """One bucket and prefix with clips, frames, films and the ledger beside them.

    All methods block (see `in_thread`), may be repeated, and raise `StudioError`s only.
    """

    def __init__(
        self,
        bucket: Bucket,
        cap_usd: Decimal | None = None,
        picture_checks: PictureChecks | None = None,
    ) -> None:
        self.bucket = bucket
        self.ledger = Ledger(bucket)
        self.jobs = JobIndex(bucket)
        self.budget = Budget(bucket, cap_usd)
        self.quarantine = Quarantine(bucket)
        self.fetching = FetchPolicy()
        self.picture_checks = picture_checks or PictureChecks()
        self.uploads: UploadedInputs | None = None

    def find(self, clip_key: str) -> Clip | None:
        """Return the archived clip of this key, None when there is none.

        Raises `LedgerUnreadable`.
        """
        try:
            clip = self.bucket.read_model(layout.clip_record(clip_key), Clip, STORED)
        except LedgerUnreadable as error:
            error.clip_key = clip_key
            raise
        if clip is not None and clip.pictures is not None:
            seen_pictures(self.bucket).add(clip_key, clip.pictures.fingerprint)
        return clip

    def clip_uri(self, clip_key: str) -> str:
        """Return where a clip is, or will be."""
        return self.bucket.uri(layout.clip_video(clip_key))

    def keep(
        self,
        order: ClipOrder,
        job: VideoJob,
        charged_usd: Decimal | None = None,
        reserved_usd: Decimal = NOTHING,
        *,
        access: ResultAccess = PUBLIC_ONLY,
        stop: Stop | None = None,
        is_last_try: bool = True,
        is_new: bool = False,
    ) -> Clip:
        """Fetch a completed job's video and store it, whole or not at all.

        A clip that is there is returned as it is; with `is_new` it is not looked for first, only
        met when it is stored.

        All links of the job are tried in their order, but none that we sent ourselves, and no
        picture, and only from where `access` allows. `charged_usd` is the API's own figure. Without
        one the listed price counts, and without that, for a model that is not configured here, what
        was reserved. Differences from the order, and whatever is odd about the file, are noted,
        never refused: a paid video is kept. Once it is stored, its pictures and its sound are
        checked, which only adds notes. Memory is bounded.

        Raises `DownloadBroken`, `LinkExpired` when a fresh link is needed, or `NotAVideo` when the
        bytes are no playable video. On the last try these bytes are kept raw in the quarantine,
        and the error is `VideoQuarantined`.
        """
        kept = None
        if not is_new:
            kept = self.find(order.clip_key)
        if kept is not None:
            return kept
        with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            file = cast("BinaryIO", spool)
            fetching = _Fetching(order, access, stop or Stop(), is_last_try)
            obtained = self._obtain(fetching, job, file)
            return self._store(order, job, file, obtained, charged_usd, reserved_usd)

    def accept(
        self,
        found: QuarantinedFile,
        who: str,
        charged_usd: Decimal | None = None,
        reserved_usd: Decimal = NOTHING,
    ) -> Clip:
        """Make a file of the quarantine the clip's video, on a person's word; the clip says so.

        What cannot be read of it stands as zero in its media facts; films that use it may fail.
        """
        kept = self.find(found.clip_key)
        if kept is not None:
            return kept
        with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            file = cast("BinaryIO", spool)
            self.bucket.fetch(self.bucket.path_of(found.uri), file)
            received = Received(file.seek(0, 2), _sha256(file))
            if received.sha256 != found.sha256:
                raise ArchiveConflict(
                    f"{found.uri} is not the file that was recorded", clip_key=found.clip_key
                )
            facts = MediaFacts(
                seconds=0, width=0, height=0, fps=0, frames=0, codec="", audio=False,
                bytes=received.size,
            )  # fmt: skip
            notes: tuple[str, ...] = (f"accepted from the quarantine by {who}: {found.reason}",)
            try:
                facts, odd = inspect(file)
                notes = (*notes, *odd)
            except NotAVideo as error:
                notes = (*notes, f"its media facts are not known: {error.message}")
            obtained = _Obtained(received, facts, notes)
            job = VideoJob(job_id=found.job_id, state=JobState.COMPLETED)
            return self._store(found.order, job, file, obtained, charged_usd, reserved_usd)

    def links_of(self, order: ClipOrder, job: VideoJob) -> tuple[str, ...]:
        """Return a job's links without those that we sent: an answer may repeat its request."""
        sent = [image.image_url for image in order.request.image_list]
        sent += [video.video_url for video in order.request.video_list]
        sent += [order.request.callback_url or ""]
        ours = {without_query(url) for url in sent if url and not url.startswith(ARCHIVE_URL)}
        stored = [url.removeprefix(ARCHIVE_URL) for url in sent if url.startswith(ARCHIVE_URL)]

        def is_sent(link: str) -> bool:
            address = without_query(link)
            return address in ours or any(address.endswith(f"/{path}") for path in stored)

        return tuple(link for link in job.urls if not is_sent(link))

    def quarantine_links(
        self, order: ClipOrder, job: VideoJob, reason: str, access: ResultAccess = PUBLIC_ONLY
    ) -> str:
        """Keep what a job's links hold, whatever it is, and return where.

        Returns an empty text if nothing can be fetched.

        Nothing is fetched if something of this job is in the quarantine already.
        """
        found = self.quarantine.find(order.clip_key, job.job_id)
        if found is not None:
            return found.uri
        for link in job.urls:
            with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
                file = cast("BinaryIO", spool)
                try:
                    pause = self.fetching.download_pause_seconds
                    received = fetch_result(link, file, order, access, pause)
                except (LinkExpired, DownloadBroken):
                    continue
                if received.size:
                    kept = self.quarantine.keep(order, job.job_id, file, received, reason)
                    return kept.uri
        return ""

    def _store(
        self,
        order: ClipOrder,
        job: VideoJob,
        file: BinaryIO,
        obtained: _Obtained,
        charged_usd: Decimal | None,
        reserved_usd: Decimal,
    ) -> Clip:
        key = order.clip_key
        received = obtained.received
        media_type = "video/mp4"
        if received.media_type == "video/webm":
            media_type = received.media_type
        if not self.bucket.put_file(
            layout.clip_video(key), file, received.size, received.sha256, media_type
        ):
            obtained = self._stored(key, file)
        obtained = self._checked(order, file, obtained)
        clip = self._describe(order, job, obtained, reserved_usd)
        clip = clip.model_copy(update={"charged_usd": charged_usd})
        document = clip.model_dump_json(indent=1).encode()
        if self.bucket.create(layout.clip_record(key), document) is None:
            return self._agreed(clip)
        return clip

    def _checked(self, order: ClipOrder, file: BinaryIO, obtained: _Obtained) -> _Obtained:
        """Add what the checks of pictures and sound find."""
        if not self.picture_checks.enabled or not obtained.facts.seconds:
            return obtained
        report, notes = check_clip(order, file, obtained.facts, self.picture_checks, self.bucket)
        return replace(obtained, notes=(*obtained.notes, *notes), pictures=report)

    def _obtain(self, fetching: _Fetching, job: VideoJob, file: BinaryIO) -> _Obtained:
        """Get the video from its links, or from the archive if a killed run has left it there."""
        order = fetching.order
        links = self.links_of(order, job)
        error: StudioError = LinkExpired("the API gives no link to the video", job_id=job.job_id)
        for number, link in enumerate(links):
            file.seek(0)
            file.truncate()
            try:
                obtained = self._fetch(link, file, fetching)
            except (LinkExpired, DownloadBroken, NotAVideo) as failed:
                if fetching.stop.is_set:
                    raise
                failed.job_id = job.job_id
                failed.clip_key = order.clip_key
                told: StudioError = failed
                if fetching.is_last_try and file.seek(0, 2):
                    told = self._keep_raw(order, job.job_id, file, failed)
                # Bytes that arrived tell more than a link that is dead.
                if number == 0 or not isinstance(told, LinkExpired):
                    error = told
                continue
            return replace(obtained, notes=(*obtained.notes, *_other_results(links, link)))
        try:
            return self._stored(order.clip_key, file)
        except StorageRefused:
            raise error from None

    def _fetch(self, link: str, file: BinaryIO, fetching: _Fetching) -> _Obtained:
        """Download one link and verify what it holds."""
        pause = self.fetching.download_pause_seconds
        get = partial(fetch_result, link, pause_seconds=pause, stop=fetching.stop)
        try:
            received = get(file, fetching.order, fetching.access)
        except DownloadBroken as broken:
            # A server that promises another length than it sends never gets further than this.
            if fetching.stop.is_set or not fetching.is_last_try:
                raise
            return _salvage(file, broken)
        if not received.is_pieced:
            return _verify(file, received, every_picture=False)
        # Ranges may have been answered with wrong bytes, and a decoder does not notice a few of
        # them: what one whole answer gives is taken instead, where the server gets that far.
        with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
            whole = cast("BinaryIO", spool)
            try:
                received = get(whole, fetching.order, fetching.access, may_resume=False)
            except (LinkExpired, DownloadBroken):
                if fetching.stop.is_set:
                    raise
                return _verify(file, received, every_picture=True)
            _replace_content(file, whole)
        return _verify(file, received, every_picture=False)

    def _keep_raw(
        self, order: ClipOrder, job_id: str, file: BinaryIO, error: StudioError
    ) -> StudioError:
        """Put bytes that no check accepts into the quarantine; return the error that says so."""
        received = Received(file.seek(0, 2), _sha256(file))
        kept = self.quarantine.keep(order, job_id, file, received, error.summary)
        told = f"{error.message}; what arrived is kept at {kept.uri}"
        if not isinstance(error, NotAVideo):
            error.message = told
            return error
        return VideoQuarantined(
            told, clip_key=order.clip_key, job_id=job_id, status=error.status, detail=error.detail
        )

    def _stored(self, key: str, file: BinaryIO) -> _Obtained:
        """Read back the video that stands in the archive.

        It was verified before it became visible.
        """
        file.seek(0)
        file.truncate()
        self.bucket.fetch(layout.clip_video(key), file)
        return _verify(file, Received(file.seek(0, 2), _sha256(file)), every_picture=False)

    def _describe(
        self,
        order: ClipOrder,
        job: VideoJob,
        obtained: _Obtained,
        reserved_usd: Decimal,
    ) -> Clip:
        facts = obtained.facts
        received = obtained.received
        notes = order.differences(facts.seconds, facts.width, facts.height, facts.audio)
        notes += obtained.notes
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
            pictures=obtained.pictures,
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


def _verify(file: BinaryIO, received: Received, *, every_picture: bool) -> _Obtained:
    """Prove that a file is a video that plays; what is odd about it is noted.

    Raises `NotAVideo`.
    """
    notes: list[str] = []
    file.seek(0)
    start = file.read(16)
    if start.startswith(_PICTURES) or (start[:4] == b"RIFF" and start[8:12] == b"WEBP"):
        raise NotAVideo("this is a picture, not a video")
    if start.startswith(b"\x1f\x8b"):
        received = _unpack(file, received)
        notes.append("it came packed with gzip")
    facts, odd = inspect(file)
    notes += odd
    if every_picture:
        check_every_picture(file)
    notes += map(str, oddities(file))
    if received.media_type not in _USUAL_TYPES:
        notes.append(f"the server called it {words(received.media_type, 60)}")
    if any("WebM" in note for note in odd):
        received = replace(received, media_type="video/webm")
    return _Obtained(received, facts, tuple(notes))


def _salvage(file: BinaryIO, broken: DownloadBroken) -> _Obtained:
    """Accept a file of another length than was promised, if every picture of it can be decoded."""
    size = file.seek(0, 2)
    if not size:
        raise broken
    try:
        obtained = _verify(file, Received(size, _sha256(file)), every_picture=True)
    except NotAVideo:
        raise broken from None
    note = f"the server promised another length: {broken.message}"
    return replace(obtained, notes=(*obtained.notes, note))


def _unpack(file: BinaryIO, received: Received) -> Received:
    """Replace a gzip file by what it holds. Raises `NotAVideo` if it is cut, damaged or a bomb."""
    with SpooledTemporaryFile(max_size=IN_MEMORY_BYTES) as spool:
        unpacked = cast("BinaryIO", spool)
        file.seek(0)
        try:
            with gzip.GzipFile(fileobj=file, mode="rb") as packed:
                while piece := packed.read(2**20):
                    unpacked.write(piece)
                    if unpacked.tell() > UNPACKED_BYTES:
                        raise NotAVideo("it is packed with gzip, and too large when unpacked")
        except (EOFError, OSError, zlib.error) as error:
            raise NotAVideo(f"it is packed with gzip, and damaged ({error})") from None
        _replace_content(file, unpacked)
    return replace(received, size=file.seek(0, 2), sha256=_sha256(file))


def _replace_content(file: BinaryIO, other: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
    other.seek(0)
    shutil.copyfileobj(other, file)


def _other_results(links: Sequence[str], used: str) -> tuple[str, ...]:
    """Note the links that were not used, without the secrets in them."""
    others = dict.fromkeys(without_query(link) for link in links)
    others.pop(without_query(used), None)
    told = (without_secrets(address)[:_LONGEST_ADDRESS] for address in others)
    return tuple(f"the API gave a further result: {address}" for address in told)
