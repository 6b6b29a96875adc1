"""Make what one clip gives to the next, and keep it in the archive."""

from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import BaseModel, ConfigDict

from prefect_kling.studio.errors import InputUnusable
from prefect_kling.studio.film.plan import Handover
from prefect_kling.studio.film.uploads import SLACK, VIDEO_SECONDS
from prefect_kling.studio.media.cut_point import find_cut_point
from prefect_kling.studio.media.frames import last_frame
from prefect_kling.studio.media.tail import keep_tail
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.storage import layout


class CutPoint(BaseModel):
    """Where a film ends a clip whose sharpest final picture was handed over.

    This is the record beside that picture: pictures of the clip, and seconds.
    """

    model_config = ConfigDict(frozen=True)

    pictures: int
    seconds: float


def extract_continuation(clip: Clip, handover: Handover, archive: Archive) -> str:
    """Store what the next clip needs of this one, and return its address in the archive.

    Free, blocking, safe to repeat: what is there already is not made again.

    Raises `InputUnusable` when the API would not take it, `NotAVideo`, or a storage error.
    """
    if handover.path not in archive.bucket.names(handover.path):
        with TemporaryDirectory(prefix="handover-") as disk:
            path = Path(disk) / "clip.mp4"
            with path.open("w+b") as file:
                archive.copy_out(clip, file)
            _KINDS[handover.kind](path, clip, handover, archive)
    return handover.address


def cut_point_of(clip: Clip, archive: Archive) -> CutPoint | None:
    """Return where the film ends this clip.

    None if the clip's sharpest picture was never handed over.
    """
    return archive.bucket.read_model(layout.cut_point(clip.clip_key), CutPoint)


def pictures_shown(clip: Clip, handover: Handover, archive: Archive) -> int | None:
    """Return how many pictures of a clip a film shows before the shot made from a handover.

    None for all of them.
    """
    is_cut = handover.kind == "sharpest_frame" and handover.clip_key == clip.clip_key
    if not is_cut:
        return None
    cut_point = cut_point_of(clip, archive)
    if cut_point is None:
        return None
    return cut_point.pictures


def _keep_sharpest(path: Path, clip: Clip, handover: Handover, archive: Archive) -> None:
    found = find_cut_point(path)
    cut_point = CutPoint(pictures=found.pictures, seconds=found.seconds)
    # The record first: whoever finds the picture can rely on it.
    archive.bucket.put(
        layout.cut_point(clip.clip_key),
        cut_point.model_dump_json(indent=1).encode(),
        "application/json",
    )
    archive.bucket.put(handover.path, found.still.data, found.still.media_type)


def _keep_last(path: Path, clip: Clip, handover: Handover, archive: Archive) -> None:
    still = last_frame(path)
    archive.bucket.put(handover.path, still.data, still.media_type)


def _keep_tail(path: Path, clip: Clip, handover: Handover, archive: Archive) -> None:
    shortest, longest = VIDEO_SECONDS
    if clip.media.seconds < shortest - SLACK:
        told = f"{clip.uri} lasts {clip.media.seconds:.2f} s"
        raise InputUnusable(
            f"{told}; as an input video it needs at least 3 s", clip_key=clip.clip_key
        )

    tail = path.with_name("tail.mp4")
    if not keep_tail(path, tail, longest):
        # The clip is short enough as it is.
        tail = path
    archive.bucket.put(handover.path, tail.read_bytes(), "video/mp4")


_KINDS = {"sharpest_frame": _keep_sharpest, "last_frame": _keep_last, "tail": _keep_tail}
