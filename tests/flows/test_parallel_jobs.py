"""The limit of jobs that an account has is kept by all clips of a run together."""

from collections.abc import Iterator

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_batch, produce_film
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive
from prefect_kling.telemetry.progress import ShotProgress, Stage, subscribe

pytestmark = pytest.mark.usefixtures("prefect_ui")


class UnderWay:
    """The shots whose jobs are under way."""

    def __init__(self) -> None:
        self.shots: set[str] = set()
        self.begun: list[str] = []
        self.most = 0

    def show(self, progress: ShotProgress) -> None:
        """Count a shot from its submission until its job has ended."""
        if progress.stage is Stage.SUBMITTING:
            self.begun.append(progress.shot)
            self.shots.add(progress.shot)
            self.most = max(self.most, len(self.shots))
        elif progress.stage is not Stage.RENDERING:
            self.shots.discard(progress.shot)


@pytest.fixture
def under_way() -> Iterator[UnderWay]:
    """What this process has under way."""
    under_way = UnderWay()
    with subscribe(under_way.show):
        yield under_way


@pytest.mark.slow
async def test_the_scenes_of_a_film_share_one_limit(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    under_way: UnderWay,
) -> None:
    """Two sub-flows, one job at a time; the chain, once begun, goes on before single shots."""
    tag = archive.bucket.prefix
    cuts = [{"prompt": f"Cut {number} {tag}"} for number in range(3)]
    chain = [{"prompt": f"Link {number} {tag}"} for number in range(3)]
    scenes = [{"shots": cuts}, {"continuity": "last_frame", "duration": 4, "shots": chain}]
    storyboard = Storyboard.model_validate(
        {"title": f"Few {tag}", "defaults": {"duration": 3}, "scenes": scenes}
    )
    few = credentials.model_copy(update={"parallel_jobs": 1})
    await produce_film(storyboard, few, archive_block)
    assert under_way.most == 1
    assert len(under_way.begun) == 6
    first_link = under_way.begun.index("2.1")
    assert under_way.begun[first_link : first_link + 3] == ["2.1", "2.2", "2.3"]


async def test_the_clips_of_a_batch_share_one_limit(
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    under_way: UnderWay,
) -> None:
    """Six clips, two jobs at a time."""
    requests = [
        VideoRequest(model="kling-v3-omni", prompt=f"{number} {archive.bucket.prefix}", duration=3)
        for number in range(6)
    ]
    few = credentials.model_copy(update={"parallel_jobs": 2})
    rows = await generate_batch(requests, few, archive_block)
    assert [row.trouble for row in rows] == [""] * 6
    assert under_way.most == 2
