"""Pictures as the encoder wants them: three planes (luma, and two of colour at half size), composed layer by layer.

Composing in planes instead of RGB moves half the bytes and saves one conversion per frame; a layer is converted
once and then only copied. All conversions are BT.709, limited range, the colours every clip is tagged with.
"""

from dataclasses import dataclass

import av
from PIL import Image, ImageOps

_BT709, _UNSAID = 1, 2
Size = tuple[int, int]
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Cel:
    """One layer: three planes, and masks where it is not fully opaque."""

    planes: tuple[Image.Image, Image.Image, Image.Image]
    mask: Image.Image | None = None
    half_mask: Image.Image | None = None

    @property
    def size(self) -> Size:
        """Width and height in pixels, both even."""
        return self.planes[0].size


def make_cel(picture: Image.Image) -> Cel:
    """Convert an RGB or RGBA picture with even sides; an alpha channel becomes the masks."""
    frame: av.VideoFrame = av.VideoFrame.from_image(picture.convert("RGB"))  # type: ignore[no-untyped-call]
    planes = planes_of(frame, picture.size)
    if picture.mode != "RGBA":
        return Cel(planes)
    mask = picture.getchannel("A")
    return Cel(planes, mask, mask.reduce(2))


def flat_cel(color: Rgb, mask: Image.Image) -> Cel:
    """Make a layer of one colour, visible through `mask` (an "L" picture with even sides)."""
    planes = make_cel(Image.new("RGB", (2, 2), color)).planes
    half = (mask.width // 2, mask.height // 2)
    flat = [
        Image.new("L", size, plane.getpixel((0, 0)))
        for plane, size in zip(planes, (mask.size, half, half), strict=True)
    ]
    return Cel((flat[0], flat[1], flat[2]), mask, mask.reduce(2))


def planes_of(frame: av.VideoFrame, size: Size) -> tuple[Image.Image, Image.Image, Image.Image]:
    """Scale a decoded frame to `size` and return its three planes."""
    if frame.colorspace == _UNSAID and not frame.format.is_rgb:
        # What players take an HD video for; PyAV would take it for BT.601, and rounds down when it converts.
        frame.colorspace = _BT709
    ready = frame.reformat(
        *size,
        format="yuv420p",
        dst_colorspace="ITU709",
        dst_color_range="MPEG",
        interpolation="BICUBIC",
        threads=1,
    )
    y, u, v = (
        Image.frombytes("L", (plane.line_size, plane.height), bytes(plane)).crop(
            (0, 0, plane.width, plane.height)
        )
        for plane in ready.planes
    )
    return y, u, v


def fit_cel(frame: av.VideoFrame, size: Size) -> Cel:
    """Fill `size` with a decoded frame, cropping what does not fit; in the right size its planes stay as they are.

    Converting to RGB and back would darken it: PyAV's conversion rounds down.
    """
    half = (size[0] // 2, size[1] // 2)
    y, u, v = planes_of(frame, (frame.width // 2 * 2, frame.height // 2 * 2))
    return Cel((_fit(y, size), _fit(u, half), _fit(v, half)))


def _fit(picture: Image.Image, size: Size) -> Image.Image:
    return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


class Canvas:
    """The frame being composed. Not safe for use by several threads at once."""

    def __init__(self, size: Size) -> None:
        self.size = size
        half = (size[0] // 2, size[1] // 2)
        self._planes = [
            Image.new("L", size, 16),
            Image.new("L", half, 128),
            Image.new("L", half, 128),
        ]

    def fill(self, cel: Cel) -> None:
        """Replace the whole frame by a layer of the same size."""
        self._planes = [plane.copy() for plane in cel.planes]

    def lay(self, cel: Cel, x: int = 0, y: int = 0) -> None:
        """Put a layer on the frame; what hangs over the edge is cut off. Odd offsets are rounded down to even."""
        x, y = x & ~1, y & ~1
        self._planes[0].paste(cel.planes[0], (x, y), cel.mask)
        for mine, theirs in zip(self._planes[1:], cel.planes[1:], strict=True):
            mine.paste(theirs, (x // 2, y // 2), cel.half_mask)

    def still(self) -> Cel:
        """Return a copy of the frame as it stands."""
        y, u, v = (plane.copy() for plane in self._planes)
        return Cel((y, u, v))

    def blend(self, cel: Cel, amount: float) -> None:
        """Fade a layer of the frame's size in: 0 changes nothing, 1 replaces everything."""
        self._planes = [
            Image.blend(mine, theirs, amount)
            for mine, theirs in zip(self._planes, cel.planes, strict=True)
        ]

    def tint(self, cel: Cel, amount: float) -> None:
        """Pull the colours, and only the colours, towards those of a layer of the frame's size."""
        self._planes[1:] = [
            Image.blend(mine, theirs, amount)
            for mine, theirs in zip(self._planes[1:], cel.planes[1:], strict=True)
        ]

    def shot(self) -> av.VideoFrame:
        """Return the frame as it stands, ready for the encoder."""
        frame = av.VideoFrame(*self.size, "yuv420p")
        for plane, picture in zip(frame.planes, self._planes, strict=True):
            plane.update(_padded(picture, plane.line_size).tobytes())
        return frame


def _padded(picture: Image.Image, line_size: int) -> Image.Image:
    """Widen a plane to the line size the encoder's memory layout asks for."""
    if picture.width == line_size:
        return picture
    wide = Image.new("L", (line_size, picture.height))
    wide.paste(picture)
    return wide
