"""Files of one's own: named by their content, checked before anything is paid, uploaded once."""

import hashlib
import io
import os
import random
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, PngImagePlugin

from prefect_kling.studio.errors import InputUnusable, StoryboardInvalid
from prefect_kling.studio.film import uploads as inputs
from prefect_kling.studio.film.planner import plan_film
from prefect_kling.studio.film.storyboard import Reference, Storyboard
from prefect_kling.studio.film.uploads import (
    has_files,
    input_path,
    is_link,
    located,
    upload,
    upload_files,
)
from prefect_kling.studio.money.archive import ARCHIVE_URL, Archive
from tests.studio.media.clips import Recipe, blank_media, make_clip
from tests.studio.media.odd_clips import odd_clips


def picture(
    size: tuple[int, int] = (320, 320), kind: str = "PNG", shade: int = 90, **options: Any
) -> bytes:
    """A plain picture as a file."""
    file = io.BytesIO()
    Image.new("RGB", size, (shade, 40, 40)).save(file, kind, **options)
    return file.getvalue()


def save(path: Path, data: bytes) -> Path:
    """Write a file."""
    path.write_bytes(data)
    return path


def board(**references: Any) -> Storyboard:
    """A film of one shot that shows all of its references."""
    shot = {"prompt": "P", "references": [*references]}
    return Storyboard.model_validate(
        {"title": "T", "references": references, "scenes": [{"shots": [shot]}]}
    )


@pytest.fixture(scope="module")
def clip() -> bytes:
    """Three seconds of the smallest size that is taken."""
    return make_clip(Recipe(frames=72, width=720, height=720, gop=72))


@pytest.fixture
def small_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take small videos too: they are made faster, and size is tested elsewhere."""
    monkeypatch.setattr(inputs, "VIDEO_PIXELS", (90, 2160))


@pytest.mark.parametrize(
    ("source", "linked"),
    [
        ("https://example.com/a.png", True),
        ("http://example.com/a.png", True),
        ("HTTPS://example.com/a.png", True),
        ("a.png", False),
        ("/https://a.png", False),
        ("file:///a.png", False),
        ("", False),
    ],
)
def test_what_begins_with_http_is_a_link(source: str, linked: bool) -> None:
    """Everything else is a file of this machine."""
    assert is_link(source) is linked


def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    """Under two names, in two folders, the same file is the same input."""
    (tmp_path / "sub").mkdir()
    data = picture()
    one, two = save(tmp_path / "face.png", data), save(tmp_path / "sub" / "Lina №1.jpeg", data)
    name = f"inputs/{hashlib.sha256(data).hexdigest()[:32]}.png"
    assert [input_path(path, is_video=False) for path in (one, two)] == [name, name]
    other = save(tmp_path / "face.png", picture(shade=91))
    assert input_path(other, is_video=False) != name


@pytest.mark.parametrize("kind", ["mp4", "mov"])
@pytest.mark.usefixtures("small_sizes")
def test_a_video_is_named_by_its_content_too(tmp_path: Path, kind: str) -> None:
    """Whether it is called .mp4 or .mov: what the file is decides."""
    data = make_clip(Recipe(frames=72, format=kind))
    names = {
        input_path(save(tmp_path / name, data), is_video=True) for name in ("a.mp4", "b.mov", "c")
    }
    assert names == {f"inputs/{hashlib.sha256(data).hexdigest()[:32]}.{kind}"}


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("PNG", ".png"), ("JPEG", ".jpg"), ("MPO", ".jpg")],
    ids=["png", "jpeg", "jpeg of a phone"],
)
def test_pictures_that_the_api_takes(tmp_path: Path, kind: str, ending: str) -> None:
    """PNG and JPEG, some with a second picture behind the first, as phones write them."""
    more: dict[str, Any] = (
        {"save_all": True, "append_images": [Image.new("RGB", (320, 320))]} if kind == "MPO" else {}
    )
    assert input_path(save(tmp_path / "p", picture(kind=kind, **more)), is_video=False).endswith(
        ending
    )


@pytest.mark.parametrize("size", [(300, 300), (750, 300), (300, 750)], ids=str)
def test_the_limits_of_a_picture_are_allowed(tmp_path: Path, size: tuple[int, int]) -> None:
    """300 pixels a side and 1:2.5 are still taken."""
    assert input_path(save(tmp_path / "p.png", picture(size)), is_video=False)


def noise(count: int) -> bytes:
    """A picture that takes more bytes than that."""
    side = int((count / 3) ** 0.5) + 1
    file = io.BytesIO()
    grains = random.Random(1).randbytes(side * side * 3)
    Image.frombytes("RGB", (side, side), grains).save(file, "PNG", compress_level=0)
    return file.getvalue()


def wordy() -> bytes:
    """A picture whose hidden text is larger than a reader accepts."""
    text = PngImagePlugin.PngInfo()
    text.add_text("story", "a" * (3 << 20), zip=True)
    return picture(pnginfo=text)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (lambda: picture((299, 400)), "299x400; each side needs at least 300 pixels"),
        (lambda: picture((751, 300)), "751x300; the limit is 1:2.5"),
        (lambda: picture(kind="GIF"), "a GIF picture; the API takes JPG and PNG"),
        (lambda: picture(kind="WEBP"), "a WEBP picture"),
        (lambda: noise(10_000_001), "larger than 10 MB"),
        (lambda: b"", "no picture that can be read"),
        (lambda: b"<svg></svg>", "no picture that can be read"),
        (lambda: picture()[:20], "cannot be read|no picture that can be read"),
        (wordy, "cannot be read"),
    ],
    ids=[
        "too small",
        "too long",
        "gif",
        "webp",
        "too many bytes",
        "empty",
        "text",
        "cut",
        "endless text",
    ],
)
def test_a_picture_the_api_would_not_take_is_refused(
    tmp_path: Path, data: Callable[[], bytes], words: str
) -> None:
    """The file and the limit are named."""
    path = save(tmp_path / "face.png", data())
    with pytest.raises(InputUnusable, match=words) as caught:
        input_path(path, is_video=False)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (Recipe(frames=70), r"lasts 2\.92 s; the API takes 3 to 10 s"),
        (Recipe(frames=101, rate=Fraction(10)), r"lasts 10\.10 s; the API takes 3 to 10 s"),
        (
            Recipe(frames=3, rate=Fraction(1), width=1280, height=718),
            "1280x718; sides must be 720 to 2160 pixels",
        ),
        (
            Recipe(frames=3, rate=Fraction(1), width=2162, height=720),
            "2162x720; sides must be 720 to 2160 pixels",
        ),
        (
            Recipe(frames=3, rate=Fraction(1), width=720, height=720),
            r"has 1\.00 pictures a second; 24 to 60 are",
        ),
    ],
    ids=["too short", "too long", "too small", "too large", "too slow"],
)
def test_a_video_the_api_would_not_take_is_refused(
    tmp_path: Path, recipe: Recipe, words: str
) -> None:
    """Length, sides and rate are read from the file; the limit and what was found are told."""
    path = save(tmp_path / "street.mp4", make_clip(recipe))
    with pytest.raises(InputUnusable, match=words) as caught:
        input_path(path, is_video=True)
    assert str(path) in str(caught.value)


@pytest.mark.usefixtures("small_sizes")
@pytest.mark.parametrize(
    ("frames", "rate", "taken"),
    [
        (72, Fraction(24000, 1001), True),
        (71, Fraction(24), True),
        (241, Fraction(24), True),
        (180, Fraction(60000, 1001), True),
        (69, Fraction(23), False),
        (186, Fraction(62), False),
    ],
    ids=str,
)
def test_what_cameras_call_24_a_second_and_3_seconds_is_taken(
    tmp_path: Path, frames: int, rate: Fraction, taken: bool
) -> None:
    """23.976 is written for 24, a picture more or less is fine; an own rate is not."""
    path = save(tmp_path / "a.mp4", make_clip(Recipe(frames=frames, rate=rate)))
    if taken:
        assert input_path(path, is_video=True)
    else:
        with pytest.raises(InputUnusable, match="pictures a second"):
            input_path(path, is_video=True)


def test_a_video_of_too_many_bytes_is_refused(tmp_path: Path, clip: bytes) -> None:
    """The limit itself is allowed. The video ends in a box of free space, which takes no disk."""
    free = struct.pack(">I4s", 200_000_000 - len(clip), b"free")
    path = save(tmp_path / "street.mp4", clip + free)
    os.truncate(path, 200_000_000)
    assert input_path(path, is_video=True)
    os.truncate(path, 200_000_001)
    with pytest.raises(InputUnusable, match=r"street\.mp4 is larger than 200 MB"):
        input_path(path, is_video=True)


@pytest.mark.parametrize(
    "broken", [b"", picture(), b"\0" * 4096, b"<html>"], ids=["empty", "png", "zeros", "html"]
)
def test_what_is_no_video_is_refused(tmp_path: Path, broken: bytes) -> None:
    """Pictures and garbage do not go where a video is meant."""
    with pytest.raises(InputUnusable, match=r"street\.mp4 is no MP4 or MOV that can be read"):
        input_path(save(tmp_path / "street.mp4", broken), is_video=True)


def test_a_damaged_video_is_refused(tmp_path: Path, clip: bytes) -> None:
    """A download that was broken off, or one whose pictures cannot be decoded, is not uploaded."""
    for damaged in (clip[:-100], blank_media(clip)):
        with pytest.raises(InputUnusable, match=r"street\.mp4 is no MP4 or MOV that can be read"):
            input_path(save(tmp_path / "street.mp4", damaged), is_video=True)


def test_a_video_is_no_picture(tmp_path: Path, clip: bytes) -> None:
    """A video under `image` is told as what it is not."""
    with pytest.raises(InputUnusable, match="no picture that can be read"):
        input_path(save(tmp_path / "street.mp4", clip), is_video=False)


@pytest.mark.parametrize("is_video", [False, True], ids=["picture", "video"])
@pytest.mark.parametrize(
    "name", ["nothing.png", ".", "a\0b", "x" * 300], ids=["missing", "folder", "nul", "long"]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, is_video: bool) -> None:
    """A missing file, a folder and a name that no file can have are the same kind of error."""
    with pytest.raises(InputUnusable, match="cannot be read"):
        input_path(tmp_path / name, is_video=is_video)


def test_a_home_that_does_not_exist_is_a_file_that_cannot_be_read() -> None:
    """A typing error behind `~` is told like any other."""
    with pytest.raises(InputUnusable, match="reference face: ~nobody-here"):
        located(board(face={"image": "~nobody-here/face.png"}))


def test_a_home_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is the user's own folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    save(tmp_path / "face.png", picture())
    found = located(board(face={"image": "~/face.png"})).references["face"].image
    assert found == ARCHIVE_URL + input_path(tmp_path / "face.png", is_video=False)


def test_only_files_get_an_address(tmp_path: Path, clip: bytes) -> None:
    """Links and elements stay; a located storyboard has no files and stays as it is."""
    face, street = save(tmp_path / "face.png", picture()), save(tmp_path / "street.mp4", clip)
    link, element = {"image": "https://example.com/sea.png"}, {"element": 7}
    found = board(face={"image": str(face)}, sea=link, street={"video": str(street)}, boat=element)
    there = located(found)
    assert (has_files(found), has_files(there)) == (True, False)
    assert there.references["face"].image == ARCHIVE_URL + input_path(face, is_video=False)
    assert there.references["street"].video == ARCHIVE_URL + input_path(street, is_video=True)
    assert there.references["sea"] == found.references["sea"]
    assert there.references["boat"] == found.references["boat"]
    assert located(there) == there


def test_the_same_file_under_two_names_makes_the_same_clip(tmp_path: Path) -> None:
    """A plan depends on what a picture shows, not on where it lies on this machine."""
    plans = []
    for name in ("face.png", "Gesicht.png"):
        path = save(tmp_path / name, picture())
        plans.append(plan_film(board(face={"image": str(path)})))
    assert plans[0] == plans[1]
    changed = plan_film(board(face={"image": str(save(tmp_path / "face.png", picture(shade=91)))}))
    assert changed.clips[0].clip_key != plans[0].clips[0].clip_key


def test_a_plan_refuses_a_bad_file_by_the_name_of_its_reference(tmp_path: Path) -> None:
    """Before anything is paid the author learns which reference, file and limit."""
    path = save(tmp_path / "tiny.png", picture((100, 100)))
    with pytest.raises(
        StoryboardInvalid, match=r"references: reference face: .*tiny\.png is 100x100"
    ):
        plan_film(board(face={"image": str(path)}))


def stored(archive: Archive) -> dict[str, bytes]:
    """Everything in the archive, by name."""
    return {name: read(archive, name) for name in archive.bucket.names("")}


def read(archive: Archive, name: str) -> bytes:
    """One object's bytes."""
    file = io.BytesIO()
    archive.bucket.fetch(name, file)
    return file.getvalue()


def test_files_are_stored_where_the_plan_says(
    tmp_path: Path, archive: Archive, clip: bytes
) -> None:
    """The archive holds these bytes; the addresses are those of a plan made before."""
    face, street = save(tmp_path / "face.png", picture()), save(tmp_path / "street.mp4", clip)
    mine = board(
        face={"image": str(face)}, again={"image": str(face)}, street={"video": str(street)}
    )
    uploaded = upload_files(mine, archive)
    assert uploaded == located(mine)
    assert stored(archive) == {
        input_path(face, is_video=False): face.read_bytes(),
        input_path(street, is_video=True): clip,
    }
    assert plan_film(uploaded) == plan_film(mine)
    links = [
        archive.bucket.sign(input_path(path, is_video=path is street), 60)
        for path in (face, street)
    ]
    assert [httpx.get(link).headers["content-type"] for link in links] == ["image/png", "video/mp4"]


def test_what_is_stored_is_not_written_again(
    tmp_path: Path, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time nothing is sent to the store, whatever the file is called by then."""
    data = picture()
    address = upload(save(tmp_path / "face.png", data), archive, is_video=False)

    def refuse(*args: object) -> None:
        pytest.fail("something was sent to the store")

    monkeypatch.setattr(archive.bucket, "put_file", refuse)
    assert upload(save(tmp_path / "renamed.jpg", data), archive, is_video=False) == address
    assert (
        upload_files(board(face={"image": str(tmp_path / "face.png")}), archive)
        .references["face"]
        .image
        == address
    )
    assert stored(archive) == {address.removeprefix(ARCHIVE_URL): data}


def test_a_file_the_api_would_not_take_is_not_stored(tmp_path: Path, archive: Archive) -> None:
    """Nothing of it reaches the archive."""
    path = save(tmp_path / "tiny.png", picture((100, 100)))
    with pytest.raises(InputUnusable, match="reference face"):
        upload_files(board(face={"image": str(path)}), archive)
    assert stored(archive) == {}


def cut(data: bytes, share: float) -> bytes:
    """The beginning of a file, as an interrupted copy leaves it."""
    return data[: int(len(data) * share)]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
def test_a_picture_that_is_cut_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    """Its header is whole; all of it is decoded before anything is paid."""
    noise = Image.effect_noise((600, 400), 60)
    file = io.BytesIO()
    noise.save(file, kind)
    assert input_path(save(tmp_path / "whole", file.getvalue()), is_video=False)
    path = save(tmp_path / "cut", cut(file.getvalue(), share))
    with pytest.raises(InputUnusable, match="cut or damaged"):
        input_path(path, is_video=False)


def test_a_png_with_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    """A byte that changed on the way is found."""
    data = bytearray(picture())
    data[len(data) // 2] ^= 0xFF
    with pytest.raises(InputUnusable, match="cut or damaged"):
        input_path(save(tmp_path / "a.png", bytes(data)), is_video=False)


def test_a_video_whose_later_pictures_are_damaged_is_refused(tmp_path: Path, clip: bytes) -> None:
    """Every picture is decoded, and not the first one only."""
    data = bytearray(clip)
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    with pytest.raises(InputUnusable, match="no MP4 or MOV that can be read"):
        input_path(save(tmp_path / "a.mp4", bytes(data)), is_video=True)


def test_what_has_no_end_is_no_input() -> None:
    """A device is refused before it is read."""
    with pytest.raises(InputUnusable, match="is no file"):
        input_path(Path("/dev/zero"), is_video=False)


def test_a_changed_file_is_checked_again(tmp_path: Path) -> None:
    """A check counts for a content, and not for a name."""
    path = save(tmp_path / "a.png", picture())
    assert input_path(path, is_video=False)
    save(path, cut(picture(), 0.5))
    with pytest.raises(InputUnusable):
        input_path(path, is_video=False)


@pytest.mark.usefixtures("small_sizes")
def test_how_a_video_is_to_be_shown_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    """Turned, pixels that are not square, full range, HDR: in the notes of the plan, by name."""
    for kind, data in odd_clips(Recipe(frames=72, width=180, height=180, gop=72)).items():
        given = board(walk=Reference(video=str(save(tmp_path / "v.mp4", data))))
        planned = plan_film(given)
        (note,) = [note for note in planned.notes if note.startswith("reference walk: ")]
        assert kind in note
        assert "the API gets it as it is" in note
        assert (
            planned.notes == plan_film(board(walk=Reference(video=str(tmp_path / "v.mp4")))).notes
        )


def test_a_picture_that_a_phone_has_turned_is_told_before_anything_is_paid(tmp_path: Path) -> None:
    """By its EXIF data; data that say nothing, or cannot be read, are no reason to speak."""
    for orientation, is_told in ((6, True), (3, True), (2, True), (1, False), (0, False)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        file = save(tmp_path / f"{orientation}.jpg", picture(kind="JPEG", exif=exif))
        notes = plan_film(board(mug=Reference(image=str(file)))).notes
        assert [note for note in notes if "EXIF" in note] == (
            [f"reference mug: its EXIF data turn or mirror it: {inputs._AS_IT_IS}"] * is_told
        )
    broken = save(tmp_path / "broken.jpg", picture(kind="JPEG", exif=b"Exif\x00\x00II*\x00\xff"))
    assert plan_film(board(mug=Reference(image=str(broken)))).notes == []


@pytest.mark.usefixtures("small_sizes")
def test_what_is_told_of_files_stays_when_they_are_uploaded(
    tmp_path: Path, archive: Archive
) -> None:
    """The plan of a run names archived inputs only."""
    data = odd_clips(Recipe(frames=72, width=180, height=180, gop=72))["full range"]
    given = board(walk=Reference(video=str(save(tmp_path / "v.mp4", data))))
    assert plan_film(upload_files(given, archive)).notes == plan_film(given).notes != []
