"""Uploads and the list of models, as the operator's own client uses them."""

import io
from typing import Any

import httpx
from PIL import Image

NOISE = bytes(range(256)) * 40


def upload(caller: Any, content: bytes = NOISE, name: str = "a.png", field: str = "file") -> Any:
    """Post a form with one file."""
    return caller.http.post("/files", files={field: (name, content, "image/png")})


def test_an_upload_is_public_under_its_address(caller: Any) -> None:
    """The answer names an address that needs no key and gives the same bytes."""
    reply = upload(caller)
    assert (reply.status_code, reply.json()["code"]) == (200, 200)
    served = httpx.get(reply.json()["data"]["publicUrl"], trust_env=False)
    assert (served.status_code, served.content) == (200, NOISE)
    assert served.headers["content-type"] == "image/png"


def test_every_upload_has_an_address_of_its_own(caller: Any) -> None:
    """Addresses cannot be guessed from the content or the name."""
    addresses = {upload(caller).json()["data"]["publicUrl"] for _ in range(3)}
    assert len(addresses) == 3


def test_names_lead_nowhere_else(caller: Any) -> None:
    """Whatever a file is called, it is kept under a name of the sandbox."""
    for name in ("../../jobs.sqlite3", "a.p/../x", "x" * 300 + ".png", "a.PNG"):
        address = upload(caller, name=name).json()["data"]["publicUrl"]
        assert httpx.get(address, trust_env=False).content == NOISE
    root = caller.sandbox.root_url
    assert httpx.get(f"{root}/uploads/..%2Fjobs.sqlite3", trust_env=False).status_code == 404


def test_uploads_want_a_key_and_a_file(caller: Any) -> None:
    """No key 401; no form, no file or another field 400."""
    bare = httpx.post(f"{caller.sandbox.base_url}/files", files={"file": b"1"}, trust_env=False)
    assert bare.status_code == 401
    assert caller.http.post("/files", content=b"1").status_code == 400
    assert upload(caller, field="image").status_code == 400
    assert caller.http.post("/files", data={"file": "text"}).status_code == 400


def test_uploads_are_gone_after_their_time(open_sandbox: Any) -> None:
    """They are kept as long as results are: 7 days unless set."""
    caller = open_sandbox(retention_seconds=0)
    address = upload(caller).json()["data"]["publicUrl"]
    assert caller.http.get(address).status_code == 404


def test_an_uploaded_picture_can_be_an_input(caller: Any) -> None:
    """A job made from the address of an upload succeeds."""
    picture = io.BytesIO()
    Image.new("RGB", (320, 320), "teal").save(picture, "PNG")
    address = upload(caller, picture.getvalue()).json()["data"]["publicUrl"]
    frames = [{"image_url": address, "type": "first_frame"}]
    assert caller.finish(image_list=frames)["state"] == "completed"


def test_models_are_listed(open_sandbox: Any) -> None:
    """Every model that a request may name is in the list, extra ones too."""
    caller = open_sandbox(extra_models={"kling-v4-omni": "kling-v3-omni"})
    listed = [each["id"] for each in caller.http.get("/models").json()["data"]]
    assert listed == ["kling-video-o1", "kling-v3-omni", "kling-v4-omni"]
