"""What to make: a request and its take, and the key that names the result."""

import hashlib
import json
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from prefect_kling.kling.request import VideoRequest

KEY_LENGTH = 32
SHORT_SIDE = {"std": 720, "pro": 1080}


class ClipOrder(BaseModel):
    """A request to be made into one archived clip.

    Equal orders have equal clip keys and are paid for once.

    Inputs that live in the archive are named by stand-in addresses (`archive.ARCHIVE_URL`): the key
    then depends on the content they stand for, and no signed link is ever written down.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    request: VideoRequest
    """What to ask the API for."""
    take: Annotated[int, Field(ge=1)] = 1
    """Raise it to have the same request made, and paid, once more."""

    @property
    def clip_key(self) -> str:
        """32 hex digits naming the clip: SHA-256 of the request's canonical JSON and the take.

        Everything that decides what the clip looks like is covered, in the form Kling's own API
        takes; the callback address is not. The form is versioned: a key never changes its meaning.
        """
        body = self.request.body("array")
        body.pop("callback_url", None)
        canonical = json.dumps(
            {"version": 1, "request": body, "take": self.take},
            sort_keys=True,
            separators=(",", ":"),
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:KEY_LENGTH]

    def differences(self, seconds: float, width: int, height: int, has_sound: bool) -> list[str]:
        """Compare what came with what was ordered.

        An edit takes its length, shape and sound from its input.
        """
        if self.request.edits_video:
            return []
        found = []
        if abs(seconds - self.request.duration) > 0.5:
            found.append(f"the clip lasts {seconds:.2f} s, {self.request.duration} s were ordered")
        if min(width, height) < SHORT_SIDE[self.request.mode]:
            found.append(
                f"the picture is {width}x{height}, mode {self.request.mode} promises "
                f"{SHORT_SIDE[self.request.mode]}p"
            )
        if self.request.sound == "on" and not has_sound:
            found.append("sound was ordered, the clip has no sound track")
        return found
