"""A person's word that a file of the quarantine is the clip: archived, settled, closed."""

from decimal import Decimal

from prefect_kling.studio.errors import WrongClip
from prefect_kling.studio.money.archive import Archive, Clip
from prefect_kling.studio.money.ledger import EntryState
from prefect_kling.studio.money.quarantine import QuarantinedFile
from prefect_kling.studio.money.settlement import close_kept


def accept_quarantined(
    archive: Archive, found: QuarantinedFile, who: str, charged_usd: Decimal | None = None
) -> Clip:
    """Make a quarantined file its clip's video, book its price and close the record.

    Safe to repeat.

    `charged_usd` is the API's own figure, if it is known. Raises `WrongClip` if the clip's record
    is about another job by now, or another video is archived.
    """
    version = archive.ledger.read(found.clip_key)
    if version is None:
        raise WrongClip("there is no record of this clip", clip_key=found.clip_key)
    entry = version.entry
    if entry.job_id != found.job_id:
        raise WrongClip(
            (
                f"the clip's record is about job {entry.job_id} by now, the file is of job "
                f"{found.job_id}"
            ),
            clip_key=found.clip_key,
            job_id=found.job_id,
        )
    clip = archive.accept(found, who, charged_usd, entry.at_most_usd)
    if clip.job_id != found.job_id or clip.sha256 != found.sha256:
        raise WrongClip(
            f"another video is archived at {clip.uri}", clip_key=found.clip_key, job_id=clip.job_id
        )
    if entry.state is not EntryState.ARCHIVED:
        close_kept(version, clip, archive)
    archive.quarantine.note_accepted(found, who)
    return clip
