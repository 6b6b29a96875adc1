"""Pictures of clips of one make, copied bit by bit into one film."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice, pairwise

from av.container import OutputContainer

from prefect_kling.studio.media.film_file import Packets
from prefect_kling.studio.media.footage import Footage
from prefect_kling.studio.media.schedule import schedule


class Splice:
    """Pictures copied packet by packet, each clip moved to where the one before it ends."""

    def __init__(self, film: OutputContainer, clips: Sequence[Footage]) -> None:
        with clips[0].opened() as (_, video):
            self._track = film.add_stream_from_template(video, opaque=True)
            self._track.codec_context.codec_tag = video.codec_context.codec_tag
        ticks = [clip.ticks for clip in clips]
        self.schedule = schedule(ticks, [0] * len(clips), clips[0].time_base)
        self._clips = clips
        self._shifts: list[int] = []
        stamps: list[int] = []
        for clip, start in zip(clips, self.schedule.starts, strict=True):
            shift = int(start / clips[0].time_base) - clip.stamps[0]
            self._shifts.append(shift)
            stamps += [stamp + shift for stamp in clip.stored]
        self.frames = len(stamps)
        self._times = _times(stamps, sum(ticks))

    def packets(self, number: int) -> Packets:
        """Copy the pictures of a clip; the clips must be asked for in their order, each once."""
        clip = self._clips[number]
        with clip.opened(for_packets=True) as (film, video):
            stored = (packet for packet in film.demux(video) if packet.pts is not None)
            for packet in islice(stored, len(clip.stored)):
                packet.pts = (packet.pts or 0) + self._shifts[number]
                packet.dts, packet.duration = next(self._times)
                packet.stream = self._track
                yield packet

    def rest(self) -> Packets:
        """Return what is still to be written after the last clip: nothing."""
        return ()


def _times(stamps: list[int], end: int) -> Iterator[tuple[int, int]]:
    """Yield decode time and duration per picture in packet order.

    The decode times rise and are never later than the stamps. Those of the clips cannot be kept:
    how far they run ahead of the stamps differs from clip to clip.
    """
    shown = sorted(stamps)
    rank = {stamp: place for place, stamp in enumerate(shown)}
    after = dict(pairwise([*shown, end]))
    lead = max(place - rank[stamp] for place, stamp in enumerate(stamps))
    step = after[shown[0]] - shown[0]
    decoded = chain((shown[0] - step * ahead for ahead in range(lead, 0, -1)), shown)
    return zip(decoded, (after[stamp] - stamp for stamp in stamps), strict=False)
