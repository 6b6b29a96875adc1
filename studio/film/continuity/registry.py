"""All kinds of continuity, by the word in a storyboard."""

from prefect_kling.studio.film.continuity.cut import Cut
from prefect_kling.studio.film.continuity.edit import Edit
from prefect_kling.studio.film.continuity.keyframes import Keyframes
from prefect_kling.studio.film.continuity.kind import Continuity
from prefect_kling.studio.film.continuity.last_frame import LastFrame
from prefect_kling.studio.film.continuity.multi_shot import MultiShot
from prefect_kling.studio.film.continuity.reference_video import ReferenceVideo

_KINDS: tuple[Continuity, ...] = (
    Cut(),
    LastFrame(),
    Keyframes(),
    ReferenceVideo(),
    MultiShot(),
    Edit(),
)
CONTINUITIES = {kind.name: kind for kind in _KINDS}
