"""Pictures of inputs on the page of whoever is to approve: small ones, and links."""

import io

from PIL import Image

from prefect_kling.blocks import KlingArchive
from prefect_kling.kling.request import VideoRequest
from prefect_kling.studio.money.archive import ARCHIVE_URL, Archive
from prefect_kling.telemetry.input_pictures import input_cells


async def test_what_lies_in_the_archive_is_shown_and_the_rest_is_linked(
    archive_block: KlingArchive, archive: Archive
) -> None:
    """A hand-over that is not made yet is named; nothing in an address can end its link."""
    picture = io.BytesIO()
    Image.new("RGB", (1200, 800), "orange").save(picture, "PNG")
    archive.bucket.put("inputs/boat.png", picture.getvalue(), "image/png")
    links = [
        f"{ARCHIVE_URL}inputs/boat.png",
        f"{ARCHIVE_URL}frames/{'a' * 32}.png",
        "https://example.com/a.png)[click](javascript:x)",
    ]
    images = [
        {"image_url": links[0], "type": "first_frame"},
        {"image_url": links[1], "type": "end_frame"},
        {"image_url": links[2]},
    ]
    request = VideoRequest.model_validate(
        {"model": "kling-v3-omni", "prompt": "A boat", "image_list": images}
    )
    plain = VideoRequest(model="kling-v3-omni", prompt="Nothing")
    shown, nothing = await input_cells([request, plain], archive_block)
    assert nothing == ""
    first, _, rest = shown.partition(" first frame ")
    assert first.startswith("![input](data:image/jpeg;base64,")
    assert len(first) < 10_000
    target = "https://example.com/a.png%29%5Bclick%5D%28javascript:x%29"
    assert rest == f"(from the shot before) last frame [look]({target}) reference"
