"""A store that the API cannot reach: refused before anything is paid, or made by uploads."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.flows import generate_batch, generate_clip, produce_film, submit_film
from prefect_kling.kling import addresses
from prefect_kling.kling.request import VideoRequest
from prefect_kling.sandbox import Sandbox
from prefect_kling.studio.errors import InputUnreachable
from prefect_kling.studio.film.storyboard import Storyboard
from prefect_kling.studio.money.archive import Archive

pytestmark = pytest.mark.usefixtures("prefect_ui")

API_NAME = "api.kling.test"


@pytest.fixture
def elsewhere(
    credentials: KlingCredentials, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KlingCredentials]:
    """Access to the sandbox by a name that looks public; the store stays on loopback."""
    real = socket.getaddrinfo

    def look_up(host: Any, *rest: Any, **more: Any) -> Any:
        if host in (API_NAME, API_NAME.encode()):
            host = "127.0.0.1"
        return real(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    addresses._scopes_here.cache_clear()
    base_url = credentials.base_url.replace("127.0.0.1", API_NAME)
    yield credentials.model_copy(update={"base_url": base_url})
    addresses._scopes_here.cache_clear()


@pytest.fixture
def uploading(elsewhere: KlingCredentials) -> KlingCredentials:
    """The same, with inputs uploaded."""
    return elsewhere.model_copy(update={"upload_inputs": True})


def board(archive: Archive, **shot: Any) -> Storyboard:
    """Two scenes of chained shots."""
    prompts = (["A boat", "The sail"], ["A tram", "Its bell"])
    scenes = []
    for pair in prompts:
        shots = [{"prompt": f"{prompt} {archive.bucket.prefix}"} | shot for prompt in pair]
        scenes.append({"continuity": "last_frame", "shots": shots})
    fields = {"title": "Private", "defaults": {"duration": 3}, "scenes": scenes}
    return Storyboard.model_validate(fields)


def bodies(sandbox: Sandbox, archive: Archive) -> list[dict[str, Any]]:
    """What the API was sent for this test."""
    return [job["body"] for job in sandbox.jobs() if archive.bucket.prefix in str(job["body"])]


def everything_stored(archive: Archive) -> bytes:
    """All documents of the archive, in one."""
    names = [name for name in archive.bucket.names("") if name.endswith(".json")]
    stored = [archive.bucket.read(name) for name in names]
    return b"\n".join(each.body for each in stored if each is not None)


@pytest.mark.parametrize("flow", [produce_film, submit_film])
async def test_a_film_with_hand_overs_is_refused_before_its_first_shot(
    flow: Any,
    elsewhere: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """The links that the second shots will need are known before the first are paid."""
    with pytest.raises(InputUnreachable, match=r"the store is at 127\.0\.0\.1"):
        await flow(board(archive), elsewhere, archive_block)
    assert bodies(sandbox, archive) == []
    assert list(archive.bucket.names("ledger/")) == []


async def test_with_uploads_the_film_is_made_whole(
    uploading: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """Hand-overs go to the API by its own upload; their addresses stand in no key and no record."""
    film = await produce_film(board(archive), uploading, archive_block)
    assert len(film.clips) == 4
    frames = [
        image["image_url"]
        for body in bodies(sandbox, archive)
        for image in body.get("image_list", [])
    ]
    assert len(frames) == 2
    assert all(f"{API_NAME}:" in frame and "/uploads/" in frame for frame in frames)
    stored = everything_stored(archive)
    assert b"/uploads/" not in stored
    assert b"https://archive.invalid/frames/" in stored

    before = len(bodies(sandbox, archive))
    links = uploading.model_copy(update={"upload_inputs": False, "check_links": False})
    await produce_film(board(archive), links, archive_block)
    assert len(bodies(sandbox, archive)) == before, "the way of inputs is no part of a clip's key"


@pytest.mark.slow
async def test_a_finished_film_is_joined_again_wherever_its_store_is(
    elsewhere: KlingCredentials,
    credentials: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
) -> None:
    """What is archived needs no link."""
    made = await produce_film(board(archive), credentials, archive_block)
    again = await produce_film(board(archive), elsewhere, archive_block)
    assert again.uri == made.uri


async def test_an_api_without_uploads_is_found_out_before_the_first_shot(
    uploading: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """A small picture is uploaded first: if that is refused, nothing is paid."""
    other = uploading.model_copy(update={"create_seconds": 59.0})
    sandbox.fault(on="upload", do={"status": 404}, times=None)
    with pytest.raises(Exception, match="takes no uploads"):
        await produce_film(board(archive), other, archive_block)
    assert bodies(sandbox, archive) == []


@pytest.mark.slow
async def test_an_upload_that_fails_later_holds_nothing(
    uploading: KlingCredentials, archive_block: KlingArchive, archive: Archive, sandbox: Sandbox
) -> None:
    """A hand-over is uploaded before the request leaves: the clip is released, a rerun makes it."""
    assert uploading.uploads is not None
    board_ = board(archive)
    sandbox.fault(on="upload", do={"status": 413}, times=None)
    with pytest.raises(Exception, match="could not be uploaded"):
        await produce_film(board_, uploading, archive_block)
    sandbox.clear_faults()
    await produce_film(board_, uploading, archive_block)
    assert list(archive.bucket.names("ledger/held/")) == []
    assert len(bodies(sandbox, archive)) == 4


async def test_a_link_of_the_user_to_a_private_host_is_refused(
    elsewhere: KlingCredentials,
    archive_block: KlingArchive,
    archive: Archive,
    sandbox: Sandbox,
) -> None:
    """One clip is refused, a batch says so in its row and makes the others."""
    prompt = f"A lamp {archive.bucket.prefix}"
    good = VideoRequest(model="kling-v3-omni", prompt=prompt, duration=3)
    frames = [{"image_url": "http://10.0.0.7/a.png", "type": "first_frame"}]
    bad = VideoRequest.model_validate(good.model_dump() | {"image_list": frames})
    with pytest.raises(InputUnreachable, match=r"an input is at 10\.0\.0\.7"):
        await generate_clip(bad, elsewhere, archive_block)
    rows = await generate_batch([bad, good], elsewhere, archive_block)
    assert "cannot reach" in rows[0].trouble
    assert rows[1].clip is not None
    assert len(bodies(sandbox, archive)) == 1
