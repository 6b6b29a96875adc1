"""Fingerprints of clips that this process has archived or read, to find two with one picture."""

import base64
from collections import OrderedDict
from threading import Lock
from weakref import WeakKeyDictionary

from prefect_kling.studio.media.picture_checks import distance
from prefect_kling.studio.storage.bucket import Bucket

_MIDDLE = 72
_LATER_MIDDLE = 364
MOST_FINGERPRINTS = 5_000
"""Of one archive; then the oldest are forgotten. They take some 5 MB."""


class SeenPictures:
    """The fingerprints of one archive's clips, by clip key. Free: nothing is read or written."""

    def __init__(self) -> None:
        self._fingerprints: OrderedDict[str, bytes] = OrderedDict()
        self._lock = Lock()

    def add(self, clip_key: str, fingerprint: str) -> None:
        """Remember a clip; one without a fingerprint is left out."""
        try:
            decoded = base64.b64decode(fingerprint, validate=True)
        except ValueError:
            # A record that was changed by hand is still that of a paid clip.
            return
        if len(decoded) <= _LATER_MIDDLE:
            return
        with self._lock:
            self._fingerprints[clip_key] = decoded
            if len(self._fingerprints) > MOST_FINGERPRINTS:
                self._fingerprints.popitem(last=False)

    def nearest(self, clip_key: str, fingerprint: str, at_most: float) -> tuple[str, int] | None:
        """Return the clip that looks most like this one, and by how many levels of 255 it differs.

        None if all differ by more than `at_most` levels somewhere.
        """
        wanted = base64.b64decode(fingerprint)
        with self._lock:
            known = list(self._fingerprints.items())
        nearest = None
        for other_key, other in known:
            if other_key == clip_key or len(other) != len(wanted):
                continue
            # The middles of two small pictures tell most clips apart, and cost little.
            if abs(other[_MIDDLE] - wanted[_MIDDLE]) > at_most:
                continue
            if abs(other[_LATER_MIDDLE] - wanted[_LATER_MIDDLE]) > at_most:
                continue
            levels = distance(wanted, other)
            if levels <= at_most and (nearest is None or levels < nearest[1]):
                nearest = (other_key, levels)
        return nearest


_SEEN: WeakKeyDictionary[Bucket, SeenPictures] = WeakKeyDictionary()
_MAKING = Lock()


def seen_pictures(bucket: Bucket) -> SeenPictures:
    """Return what this process has seen of an archive."""
    with _MAKING:
        return _SEEN.setdefault(bucket, SeenPictures())
