"""Clips with the faults that picture checks look for, clips that nearly have them, and clean ones.

Small pictures of the examples, over which a camera moves, are spoilt in one way each.
"""

import io
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from prefect_kling.sandbox.clip_request import Input
from prefect_kling.sandbox.decoded_inputs import DecodedInputs, decode_inputs
from prefect_kling.sandbox.painter import paint_frames
from prefect_kling.studio.media.picture_checks import Rule

RATE = 24
EXAMPLES = Path(__file__).parents[3] / "examples"
WIDE, TALL, SQUARE = (320, 180), (180, 320), (240, 240)

Size = tuple[int, int]
Pictures = Iterator[Image.Image]
Spoil = Callable[[Image.Image, float, float], Image.Image]
"""Changes a picture, given its second and the length of the clip."""


@dataclass(frozen=True)
class Case:
    """A clip, what it was ordered to be, and which rules it breaks."""

    name: str
    breaks: tuple[Rule, ...] = ()
    near: str = ""
    """The rule it nearly breaks; a clean clip is near to none."""
    pictures: Callable[[Size], Pictures] | None = None
    spoil: tuple[Spoil, ...] = ()
    size: Size = WIDE
    seconds: float = 5.0
    sound: str = ""
    """A source of libavfilter; empty for no sound track."""
    crf: int = 20
    sound_ordered: bool = False
    cuts_ordered: bool = False
    first_frame: bytes | None = None
    like: str = ""
    """The name of the case whose clip is compared with this one, for duplicates."""
    copies: str = ""
    """The name of the case whose file this is, byte by byte."""


def write(case: Case, size: Size | None = None) -> bytes:
    """Encode the clip of a case."""
    shape = size or case.size
    file = io.BytesIO()
    options = {"preset": "veryfast", "crf": str(case.crf), "threads": "1", "bf": "3"}
    with av.open(file, "w", format="mp4") as out:
        video = out.add_stream("libx264", rate=RATE, options=options)
        video.width, video.height = shape
        video.pix_fmt = "yuv420p"
        audio = None
        if case.sound:
            audio = out.add_stream("aac", rate=48_000, layout="stereo")
        pictures = (case.pictures or pan("mug-front"))(shape)
        for number, picture in enumerate(islice(pictures, round(case.seconds * RATE))):
            at = number / RATE
            for change in case.spoil:
                picture = change(picture, at, case.seconds)
            frame = av.VideoFrame.from_image(picture.convert("RGB"))
            out.mux(video.encode(frame.reformat(format="yuv420p")))
        out.mux(video.encode(None))
        if audio is not None:
            for heard in _heard(case.sound, case.seconds):
                out.mux(audio.encode(heard))
            out.mux(audio.encode(None))
    return file.getvalue()


def _heard(source: str, seconds: float) -> Iterator[av.AudioFrame]:
    resampler = av.AudioResampler("fltp", "stereo", 48_000)
    with av.open(f"{source},atrim=0:{seconds}", format="lavfi") as made:
        for frame in made.decode(audio=0):
            frame.pts = None
            for part in resampler.resample(frame):
                assert isinstance(part, av.AudioFrame)
                part.pts = None
                yield part


# Pictures


@lru_cache(maxsize=32)
def _large(name: str, size: Size) -> Image.Image:
    """An example picture, a fifth larger than the clip."""
    with Image.open(EXAMPLES / "pictures" / f"{name}.jpg") as picture:
        return ImageOps.fit(picture.convert("RGB"), (size[0] * 6 // 5, size[1] * 6 // 5))


def still_of(name: str, size: Size) -> Image.Image:
    """The picture with which `pan` begins."""
    return _large(name, size).crop((0, 0, *size))


def pan(name: str, speed: float = 6.0) -> Callable[[Size], Pictures]:
    """A camera that moves over an example picture, by so many pixels a second."""

    def pictures(size: Size) -> Pictures:
        large = _large(name, size)
        number = 0
        while True:
            x = min(speed * number / RATE, size[0] / 5)
            y = min(speed * number / RATE / 2, size[1] / 5)
            corner = (x + size[0], y + size[1])
            yield large.transform(
                size, Image.Transform.EXTENT, (x, y, *corner), Image.Resampling.BILINEAR
            )
            number += 1

    return pictures


def shaken(name: str) -> Callable[[Size], Pictures]:
    """A camera held in a hand that runs."""

    def pictures(size: Size) -> Pictures:
        large = _large(name, size)
        number = 0
        while True:
            x = round((1 + math.sin(number * 0.9)) * size[0] / 40)
            y = round((1 + math.sin(number * 1.3)) * size[1] / 40)
            yield large.crop((x, y, x + size[0], y + size[1]))
            number += 1

    return pictures


def zoom(name: str, per_second: float) -> Callable[[Size], Pictures]:
    """A camera that comes closer."""

    def pictures(size: Size) -> Pictures:
        large = _large(name, size)
        number = 0
        while True:
            scale = max(0.3, 1 - per_second * number / RATE)
            width, height = size[0] * scale, size[1] * scale
            left, top = (size[0] - width) / 2, (size[1] - height) / 2
            box = (left, top, left + width, top + height)
            yield large.transform(size, Image.Transform.EXTENT, box, Image.Resampling.BILINEAR)
            number += 1

    return pictures


def source(graph: str) -> Callable[[Size], Pictures]:
    """A source of libavfilter; `{size}` stands for the size."""

    def pictures(size: Size) -> Pictures:
        described = graph.format(size=f"{size[0]}x{size[1]}")
        with av.open(described, format="lavfi") as made:
            for frame in made.decode(video=0):
                yield frame.to_image()

    return pictures


def painted(first: str = "", **body: object) -> Callable[[Size], Pictures]:
    """What the sandbox paints."""

    def pictures(size: Size) -> Pictures:
        contents = []
        if first:
            contents.append((Input("first_frame", ""), jpeg(still_of(first, size))))
        inputs: DecodedInputs = decode_inputs(contents)
        request = {"model": "kling-v3-omni", "prompt": "A lighthouse at dusk.", **body}
        yield from paint_frames(request, inputs, size, 77, "job-1")

    return pictures


def shrunk(pictures: Callable[[Size], Pictures]) -> Callable[[Size], Pictures]:
    """The same pictures, smaller."""

    def smaller(size: Size) -> Pictures:
        for picture in pictures(WIDE):
            yield picture.resize(size)

    return smaller


def rehearsal(size: Size) -> Pictures:
    """The example video."""
    with av.open(str(EXAMPLES / "videos" / "rehearsal.mp4")) as made:
        for frame in made.decode(video=0):
            yield frame.to_image().resize(size)


def jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    """A picture as a JPEG."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return file.getvalue()


# What spoils them


def black(begin: float, end: float, level: int = 0) -> Spoil:
    """Black between two seconds."""

    def change(picture: Image.Image, at: float, _: float) -> Image.Image:
        if begin <= at < end:
            return Image.new("RGB", picture.size, (level, level, level))
        return picture

    return change


def grain(strength: float) -> Spoil:
    """Noise that is another one in every picture."""

    def change(picture: Image.Image, at: float, _: float) -> Image.Image:
        noise = Image.effect_noise(picture.size, strength).convert("RGB")
        middle = Image.new("RGB", picture.size, (128, 128, 128))
        return Image.blend(picture, Image.blend(middle, noise, 1.0), 0.15)

    return change


def dim(factor: float, begin: float = 0.0) -> Spoil:
    """Darker by a factor."""

    def change(picture: Image.Image, at: float, _: float) -> Image.Image:
        if at < begin:
            return picture
        return ImageEnhance.Brightness(picture).enhance(factor)

    return change


def fade_in(seconds: float) -> Spoil:
    """From black to the picture."""

    def change(picture: Image.Image, at: float, _: float) -> Image.Image:
        return ImageEnhance.Brightness(picture).enhance(min(1.0, at / seconds))

    return change


def fade_out(seconds: float) -> Spoil:
    """From the picture to black."""

    def change(picture: Image.Image, at: float, length: float) -> Image.Image:
        return ImageEnhance.Brightness(picture).enhance(min(1.0, (length - at) / seconds))

    return change


def frozen(begin: float, end: float) -> Spoil:
    """The picture of the first second is held until the other."""
    held: list[Image.Image] = []

    def change(picture: Image.Image, at: float, _: float) -> Image.Image:
        if not begin <= at < end:
            held.clear()
            return picture
        if not held:
            held.append(picture)
        return held[0]

    return change


def cut(other: Callable[[Size], Pictures], at: float) -> Spoil:
    """From one second on another picture."""
    running: list[Pictures] = []

    def change(picture: Image.Image, now: float, _: float) -> Image.Image:
        if now == 0:
            running.clear()
        if now < at:
            return picture
        if not running:
            running.append(other(picture.size))
        return next(running[0])

    return change


def dissolve(other: Callable[[Size], Pictures], at: float, seconds: float) -> Spoil:
    """One picture becomes another."""
    running: list[Pictures] = []

    def change(picture: Image.Image, now: float, _: float) -> Image.Image:
        if now == 0:
            running.clear()
        if now < at:
            return picture
        if not running:
            running.append(other(picture.size))
        return Image.blend(picture, next(running[0]), min(1.0, (now - at) / seconds))

    return change


def flash(at: float, seconds: float = 0.09) -> Spoil:
    """White for a moment."""

    def change(picture: Image.Image, now: float, _: float) -> Image.Image:
        if at <= now < at + seconds:
            return Image.new("RGB", picture.size, (250, 250, 250))
        return picture

    return change


def lightning(at: float) -> Spoil:
    """Bright at once, and dark again within half a second."""

    def change(picture: Image.Image, now: float, _: float) -> Image.Image:
        if at <= now < at + 0.35:
            return ImageEnhance.Brightness(picture).enhance(3.0 - 5 * (now - at))
        return picture

    return change


def dot(part: float, speed: float = 60.0) -> Spoil:
    """A light square, so large a part of the height, that moves."""

    def change(picture: Image.Image, at: float, _: float) -> Image.Image:
        drawn = picture.copy()
        side = max(2, round(part * picture.height))
        x = speed * at % max(1, picture.width - side)
        y = picture.height / 3
        box = (x, y, x + side, y + side)
        ImageDraw.Draw(drawn).rectangle(box, fill=(235, 225, 200))
        return drawn

    return change


def rush(at: float) -> Spoil:
    """Something large passes close to the camera within a third of a second."""

    def change(picture: Image.Image, now: float, _: float) -> Image.Image:
        if not at <= now < at + 0.33:
            return picture
        drawn = picture.copy()
        width = picture.width
        left = round((now - at) / 0.33 * 2 * width) - width
        ImageDraw.Draw(drawn).rectangle(
            (left, 0, left + width * 2 // 3, picture.height), fill=(40, 30, 30)
        )
        return drawn

    return change


def whip(at: float) -> Spoil:
    """The camera is swung to the side within 0.4 s."""

    def change(picture: Image.Image, now: float, _: float) -> Image.Image:
        turned = min(1.0, max(0.0, (now - at) / 0.4))
        shift = round(turned * picture.width)
        wide = Image.new("RGB", (2 * picture.width, picture.height))
        wide.paste(picture, (0, 0))
        wide.paste(ImageOps.mirror(picture), (picture.width, 0))
        return wide.crop((shift, 0, shift + picture.width, picture.height))

    return change


def mirror(picture: Image.Image, *_: float) -> Image.Image:
    """As in a mirror."""
    return ImageOps.mirror(picture)


def warmer(picture: Image.Image, *_: float) -> Image.Image:
    """In other colours, of about the same brightness."""
    red, green, blue = picture.split()
    raised = red.point(lambda value: min(255, value + 25))
    lowered = blue.point(lambda value: max(0, value - 40))
    return Image.merge("RGB", (raised, green, lowered))


_TONE = "sine=f=330:r=48000,volume={volume}dB"
_NOISE = "anoisesrc=r=48000:color=pink:seed=1:amplitude={amplitude}"
_STILL = partial(pan, speed=0.0)
_WORD_SHOTS = "The door opens. A hand takes the cup. It rains."


def _first(name: str, size: Size = WIDE) -> bytes:
    return jpeg(still_of(name, size))


def _cases() -> Iterator[Case]:
    yield from _black()
    yield from _frozen()
    yield from _sound()
    yield from _cuts()
    yield from _duplicates()
    yield from _first_frames()
    yield from _clean()


def _black() -> Iterator[Case]:
    rule = (Rule.BLACK,)
    yield Case("black throughout", rule, spoil=(black(0, 9),))
    yield Case("black for the first 1.5 s", rule, spoil=(black(0, 1.5),), cuts_ordered=True)
    yield Case("black for 1.2 s in the middle", rule, spoil=(black(2, 3.2),), cuts_ordered=True)
    yield Case("black for the last 2 s", rule, spoil=(black(3, 9),), cuts_ordered=True)
    yield Case("black with the grain of a sensor", rule, spoil=(black(0, 9, 4), grain(4), dim(0.1)))
    yield Case("black, upright", rule, spoil=(black(0, 9),), size=TALL)
    yield Case("a fade from black of 0.5 s", near="black", spoil=(fade_in(0.5),))
    yield Case("a fade to black of 0.8 s", near="black", spoil=(fade_out(0.8),))
    yield Case("a night", near="black", spoil=(dim(0.15),))
    yield Case("a night with a small light", near="black", spoil=(dim(0.03), dot(0.17)))
    yield Case("black for 0.2 s", near="black", spoil=(black(2, 2.2),))
    yield Case(
        "a logo that moves on black",
        near="black",
        pictures=source("color=black:s={size}:r=24"),
        spoil=(dot(0.25),),
    )


def _frozen() -> Iterator[Case]:
    rule = (Rule.FROZEN,)
    yield Case("frozen throughout", rule, spoil=(frozen(0, 9),))
    yield Case("frozen from 2 s on", rule, spoil=(frozen(2, 9),))
    yield Case("frozen for the first 2.5 s", rule, spoil=(frozen(0, 2.5),), cuts_ordered=True)
    yield Case("frozen for 2.4 s in the middle", rule, spoil=(frozen(1, 3.4),), cuts_ordered=True)
    yield Case("frozen, badly encoded", rule, spoil=(frozen(0, 9),), crf=38)
    yield Case("frozen, upright", rule, spoil=(frozen(0, 9),), size=TALL)
    yield Case("frozen for 1 s", near="frozen", spoil=(frozen(2, 3),))
    yield Case("a slow camera", near="frozen", pictures=pan("mug-front", 2.0))
    yield Case("a slow zoom", near="frozen", pictures=zoom("bottle", 0.01))
    yield Case(
        "something small moves", near="frozen", pictures=_STILL("ada-front"), spoil=(dot(0.06),)
    )
    yield Case("grain on a still", near="frozen", pictures=_STILL("juno"), spoil=(grain(25),))
    yield Case(
        "something moves slowly, upright",
        near="frozen",
        pictures=_STILL("juno"),
        spoil=(dot(0.1, 8.0),),
        size=TALL,
    )


def _sound() -> Iterator[Case]:
    silent = (Rule.SILENT,)
    heard = partial(Case, sound_ordered=True)
    tone = _TONE.format
    yield heard("digital silence", silent, sound="anullsrc=r=48000:cl=stereo")
    yield heard("no sound track", silent)
    yield heard("noise at -75 dB", silent, sound=_NOISE.format(amplitude=0.0003))
    yield heard("a tone at -70 dB", silent, sound=tone(volume=-58))
    yield heard("a hushed tone", (Rule.QUIET,), sound=tone(volume=-33))
    yield heard("hushed noise", (Rule.QUIET,), sound=_NOISE.format(amplitude=0.008))
    yield heard("an overdriven tone", (Rule.LOUD,), sound=tone(volume=19))
    yield heard("overdriven noise", (Rule.LOUD,), sound="anoisesrc=r=48000:color=white:seed=1")
    yield heard("room tone", near="silent", sound=_NOISE.format(amplitude=0.05))
    yield heard(
        "one short tone in silence",
        near="silent",
        sound="aevalsrc='if(between(t,2,2.6),0.2*sin(2000*t),0)':s=48000",
    )
    yield Case("silence as ordered", near="silent", sound="anullsrc=r=48000:cl=stereo")
    yield heard("quiet speech", near="quiet", sound=tone(volume=-20))
    yield heard("loud music", near="loud", sound=tone(volume=6))


def _cuts() -> Iterator[Case]:
    rule = (Rule.CUT,)
    yield Case("a cut to another picture", rule, spoil=(cut(pan("bottle-pour"), 2.5),))
    yield Case("a cut, upright", rule, spoil=(cut(pan("juno"), 2.5),), size=TALL)
    yield Case("a cut, square", rule, spoil=(cut(pan("ada-front"), 1.5),), size=SQUARE)
    yield Case("a cut in the dark", rule, spoil=(cut(pan("bottle-pour"), 2.5), dim(0.4)))
    yield Case(
        "two cuts",
        rule,
        spoil=(cut(pan("bottle-ice"), 1.5), cut(pan("paper-house"), 3.5)),
    )
    yield Case("a cut near the start", rule, spoil=(cut(pan("bottle-table"), 0.4),))
    yield Case("a cut near the end", rule, spoil=(cut(pan("bottle-table"), 4.6),))
    yield Case(
        "a cut closer",
        rule,
        pictures=pan("bottle-pour"),
        spoil=(cut(zoom("bottle-ice", 0.02), 2.0),),
    )
    yield Case("a cut to a similar picture", rule, spoil=(cut(pan("mug-side"), 2.5),))
    yield Case(
        "a cut in the night", rule, spoil=(cut(pan("bottle-pour"), 2.5), dim(0.2)), size=SQUARE
    )
    near = partial(Case, near="cut")
    yield near("a cut that was ordered", spoil=(cut(pan("bottle-pour"), 2.5),), cuts_ordered=True)
    yield near("a flash", spoil=(flash(2),))
    yield near("a flash, upright", spoil=(flash(1),), size=TALL, pictures=pan("juno"))
    yield near("strobe light", spoil=tuple(flash(0.5 + 0.5 * number) for number in range(8)))
    yield near("lightning", spoil=(dim(0.4), lightning(2.5)))
    yield near("a camera swung to the side", spoil=(whip(2),), pictures=pan("bottle-table"))
    yield near("a dissolve of 0.5 s", spoil=(dissolve(pan("bottle-ice"), 2, 0.5),))
    yield near("a camera that runs", pictures=shaken("bottle-table"))
    yield near("a fast zoom", pictures=zoom("paper-house", 0.23), seconds=3.0)
    yield near("something passes the camera", spoil=(rush(2),), pictures=pan("bottle-table"))


def _duplicates() -> Iterator[Case]:
    rule = (Rule.DUPLICATE,)
    yield Case("the first one", near="duplicate", pictures=pan("bottle-pour", 8.0))
    first = partial(Case, pictures=pan("bottle-pour", 8.0), like="the first one")
    yield first("the same file", rule, copies="the first one")
    yield first("encoded anew", rule, crf=28)
    smaller = shrunk(pan("bottle-pour", 8.0))
    yield Case(
        "encoded smaller", rule, pictures=smaller, size=(256, 144), crf=24, like="the first one"
    )
    yield first("with other sound", rule, sound=_TONE.format(volume=-6), crf=22)
    near = partial(Case, near="duplicate", like="the first one")
    yield near("another camera", pictures=pan("bottle-pour", 12.0))
    yield Case("a still", pictures=_STILL("ada-front"), spoil=(dot(0.06),), near="duplicate")
    yield Case(
        "the same still, where something else moves",
        near="duplicate",
        pictures=_STILL("ada-front"),
        spoil=(dot(0.06, 25.0),),
        like="a still",
    )
    yield near("the same start, another way", pictures=zoom("bottle-pour", 0.05))
    yield first("something else in it", near="duplicate", spoil=(dot(0.15),))
    yield first("mirrored", near="duplicate", spoil=(mirror,))
    yield first("in other colours", near="duplicate", spoil=(warmer,))


def _first_frames() -> Iterator[Case]:
    rule = (Rule.FIRST_FRAME,)
    yield Case("begins with another picture", rule, first_frame=_first("bottle-pour"))
    yield Case(
        "begins with another person", rule, pictures=pan("juno"), first_frame=_first("ada-front")
    )
    yield Case("begins in the dark", rule, spoil=(dim(0.3),), first_frame=_first("mug-front"))
    yield Case(
        "begins elsewhere, upright",
        rule,
        size=TALL,
        pictures=pan("bottle-ice"),
        first_frame=_first("paper-house", TALL),
    )
    near = partial(Case, near="first frame")
    yield near("begins as ordered", first_frame=_first("mug-front"))
    yield near("a little brighter", spoil=(dim(1.12),), first_frame=_first("mug-front"))
    closer = still_of("bottle-pour", WIDE).crop((16, 9, 304, 171)).resize(WIDE)
    yield near("a tenth closer", pictures=pan("bottle-pour"), first_frame=jpeg(closer))
    rough = jpeg(still_of("bottle-ice", WIDE), 12)
    yield near("from a rough JPEG", pictures=pan("bottle-ice"), first_frame=rough)
    yield near(
        "cut to its shape",
        pictures=painted(first="mug-side"),
        first_frame=_first("mug-side"),
        size=WIDE,
    )


def _clean() -> Iterator[Case]:
    yield Case("a moving picture", pictures=pan("bottle-table", 10.0))
    yield Case("a moving picture, upright", pictures=pan("juno", 10.0), size=TALL)
    yield Case("a moving picture, square", pictures=pan("paper-house", 10.0), size=SQUARE)
    yield Case("test picture", pictures=source("testsrc2=s={size}:r=24"))
    yield Case("colours that flow", pictures=source("gradients=s={size}:r=24:speed=0.02"))
    yield Case("a fractal", pictures=source("mandelbrot=s={size}:r=24"), size=SQUARE)
    yield Case("the example video", pictures=rehearsal)
    yield Case("the sandbox", pictures=painted())
    yield Case("the sandbox, upright", pictures=painted(aspect_ratio="9:16"), size=TALL)
    yield Case("the sandbox, square", pictures=painted(aspect_ratio="1:1"), size=SQUARE)
    yield Case(
        "the sandbox, several shots",
        pictures=painted(multi_shot=True, shot_type="intelligence", prompt=_WORD_SHOTS),
        cuts_ordered=True,
    )
    yield Case(
        "the sandbox, from a picture",
        pictures=painted(first="mug-back"),
        first_frame=_first("mug-back"),
    )
    yield Case("the sandbox, 10 s", pictures=painted(duration="10"), seconds=10.0)
    yield Case(
        "the sandbox, with sound",
        pictures=painted(prompt="A brook in the woods."),
        sound="sine=f=200:r=48000",
        sound_ordered=True,
    )


CASES: Mapping[str, Case] = {case.name: case for case in _cases()}
