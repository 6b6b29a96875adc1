"""Check a clip that is stored against its order, and against the clips that were seen before."""

import logging
from typing import BinaryIO

from prefect_kling.kling.server_words import words
from prefect_kling.studio.errors import StudioError
from prefect_kling.studio.media.picture_checks import (
    Expected,
    PictureChecks,
    PictureReport,
    Rule,
    Suspicion,
    check_pictures,
)
from prefect_kling.studio.media.probe import MediaFacts
from prefect_kling.studio.money.inputs import archive_path
from prefect_kling.studio.money.orders import ClipOrder
from prefect_kling.studio.money.seen_pictures import seen_pictures
from prefect_kling.studio.storage.bucket import Bucket

LOG = logging.getLogger(__name__)


def check_clip(
    order: ClipOrder, file: BinaryIO, facts: MediaFacts, checks: PictureChecks, bucket: Bucket
) -> tuple[PictureReport | None, list[str]]:
    """Return what is suspicious about a clip, and notes in words. Blocking, raises nothing.

    Trouble in a check is a note: the video is paid for and stored, and whatever is wrong with a
    check, it is kept. Costs the reading of an ordered first picture that stands in the bucket.
    """
    notes: list[str] = []
    try:
        expected = _expected(order, facts, checks, bucket, notes)
        report = _compared(order, check_pictures(file, expected, checks), checks, bucket)
    except Exception as error:
        # Decoders and Pillow raise errors of their own, which are many.
        LOG.warning("clip %s: a check of its pictures failed", order.clip_key, exc_info=True)
        notes.append(f"its pictures were not checked: {words(str(error), 200)}")
        return None, notes
    told = report.suspicions
    if not facts.audio:
        # That the sound track is missing is a difference from the order already.
        told = tuple(each for each in told if each.rule != Rule.SILENT)
    notes += map(str, told)
    if report.looked_at_seconds < facts.seconds:
        notes.append(f"only its first {report.looked_at_seconds:.1f} s were checked")
    return report, notes


def _expected(
    order: ClipOrder, facts: MediaFacts, checks: PictureChecks, bucket: Bucket, notes: list[str]
) -> Expected:
    """Return what the checks compare a clip with. An edit takes sound and cuts from its input.

    An ordered first picture is read if it stands in this archive; no other host is asked.
    """
    request = order.request
    picture = None
    first = request.image_of_type("first_frame")
    path = None
    if first is not None and checks.first_frame_percent:
        path = archive_path(first.image_url)
    if path is not None:
        try:
            stored = bucket.read(path)
        except StudioError as error:
            notes.append(f"its first picture was not compared: {error.message}")
            stored = None
        if stored is not None:
            picture = stored.body
    return Expected(
        seconds=facts.seconds,
        sound=request.sound == "on" and not request.edits_video,
        cuts=request.multi_shot or request.edits_video,
        first_frame=picture,
    )


def _compared(
    order: ClipOrder, report: PictureReport, checks: PictureChecks, bucket: Bucket
) -> PictureReport:
    """Add the clip whose pictures these are, if this process has seen one.

    Black clips all look alike, and an edit may well look like another edit of its input.
    """
    at_most = checks.duplicate_levels
    is_black = any(each.rule == Rule.BLACK for each in report.suspicions)
    if not at_most or not report.fingerprint or is_black or order.request.edits_video:
        return report
    seen = seen_pictures(bucket)
    # Added first: of two that come at the same moment, one at least meets the other.
    seen.add(order.clip_key, report.fingerprint)
    nearest = seen.nearest(order.clip_key, report.fingerprint, at_most)
    if nearest is None:
        return report
    key, levels = nearest
    found = Suspicion(rule=Rule.DUPLICATE, measured=float(levels), threshold=at_most, clip_key=key)
    return report.model_copy(update={"suspicions": (*report.suspicions, found)})
