"""Looking at films: pictures out of stored videos, and how much two of them differ."""

import io
from pathlib import Path
from statistics import fmean

import av
from PIL import Image, ImageChops, ImageDraw, ImageStat

from prefect_kling.studio.film.assembly import Film
from prefect_kling.studio.money.archive import Archive


def picture(data: bytes) -> Image.Image:
    """An encoded picture, decoded."""
    return Image.open(io.BytesIO(data)).convert("RGB")


def video(archive: Archive, path: str) -> io.BytesIO:
    """A stored video."""
    file = io.BytesIO()
    archive.bucket.fetch(path, file)
    file.seek(0)
    return file


def frames(archive: Archive, uri: str) -> list[Image.Image]:
    """All pictures of a stored video, in order."""
    file = video(archive, archive.bucket.path_of(uri))
    with av.open(file) as container:
        return [frame.to_image(threads=1) for frame in container.decode(video=0)]


def around_joins(archive: Archive, film: Film) -> list[tuple[Image.Image, Image.Image]]:
    """The pictures a viewer sees on either side of each join between two clips of a film."""
    shown = frames(archive, film.uri)
    return [
        (shown[place - 1], shown[place])
        for clip in film.clips[1:]
        if (place := round(clip.begins_at * 24))
    ]


def difference(one: Image.Image, other: Image.Image) -> float:
    """Mean difference of two pictures per channel, 0 to 255."""
    changed = ImageChops.difference(one, other.resize(one.size))
    return fmean(ImageStat.Stat(changed).mean)


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (640, 360)) -> Path:
    """A picture of one's own: a disc on a coloured ground."""
    image = Image.new("RGB", size, colour)
    radius = min(size) // 4
    centre = size[0] // 2, size[1] // 2
    box = (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)
    ImageDraw.Draw(image).ellipse(box, fill=tuple(255 - value for value in colour))
    image.save(path)
    return path
