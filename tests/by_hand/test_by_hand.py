"""Somebody who never saw the code sets everything up and makes a film in the Prefect UI."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from prefect_kling.blocks import KlingArchive
from prefect_kling.deployments.local.demo import BUCKET
from tests.browser import Version, require_browser
from tests.by_hand.story import Site, make_batch, make_film, set_up

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Everything set up by the documented commands."""
    require_browser()
    with set_up(tmp_path_factory.mktemp("site"), short_side=180) as site:
        yield site


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_film_is_made_by_clicks_alone(version: Version, site: Site, tmp_path: Path) -> None:
    """Both UIs lead to the film in the archive that the form named, each shot paid once."""
    before = site.sandbox.stats()["created"]
    run_id = await make_film(site, version, tmp_path)
    async with get_client() as api:
        run = await api.read_flow_run(run_id)
    assert (run.name, run.state_name) == ("film First light", "Completed")
    assert site.sandbox.stats()["created"] == before + 3
    kept = site.s3.client().list_objects_v2(
        Bucket=BUCKET, Prefix=f"studio-{version}/films/first-light/"
    )
    assert sum(each["Key"].endswith("/film.mp4") for each in kept["Contents"]) == 1
    assert all(
        (tmp_path / f"{step}.png").stat().st_size > 10_000
        for step in ("block", "form", "run", "page")
    )


@pytest.mark.parametrize("version", ["v1", "v2"])
async def test_a_batch_is_made_by_clicks_alone(
    version: Version, site: Site, tmp_path: Path
) -> None:
    """Table by its address, approval, page and results, with the user's ids."""
    before = site.sandbox.stats()["created"]
    archive = await KlingArchive.aload("default")
    run_id = await make_batch(site, version, archive.prefix, tmp_path)
    async with get_client() as api:
        run = await api.read_flow_run(run_id)
    assert run.state_name == "Completed"
    assert site.sandbox.stats()["created"] == before + 2
    bucket = archive.get_archive().bucket
    (results,) = [
        name for name in bucket.names(f"batches/mugs-{version}.") if name.endswith("results.csv")
    ]
    stored = bucket.read(results)
    assert stored is not None
    lines = stored.body.decode("utf-8-sig").splitlines()
    assert [line.partition(",")[0] for line in lines] == ["id", "MUG-1", "JUG-7"]
