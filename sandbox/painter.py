"""Painting one clip: landscape, titles, hand-over pictures and frame codes, frame by frame into an MP4."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image, ImageOps

from prefect_kling.sandbox.canvas import Canvas, Cel, fit_cel, make_cel, planes_of
from prefect_kling.sandbox.encoder import Reel, hum
from prefect_kling.sandbox.footage import Video, open_picture
from prefect_kling.sandbox.frame_code import strip_height
from prefect_kling.sandbox.recipe import FPS, Recipe, Shot
from prefect_kling.sandbox.scenery import Palette, Scenery, pick_palette, tint_of
from prefect_kling.sandbox.titles import Titles, Wording, make_code_cel

_FADE_FRAMES = FPS // 2


@dataclass(frozen=True)
class Props:
    """The decoded inputs of a request."""

    opening: Image.Image | None = None
    closing: Image.Image | None = None
    references: tuple[Image.Image, ...] = ()
    base: Video | None = None
    feature: Video | None = None

    @property
    def shape(self) -> tuple[int, int] | None:
        """Width and height of the input a clip follows when it has no ratio of its own."""
        if self.opening:
            return self.opening.size
        video = self.base or self.feature
        return video.shape if video else None

    @property
    def continued(self) -> Video | None:
        """The video the clip goes on from; beside a first frame, a feature video is only looked at."""
        return None if self.opening else self.feature


class Interrupted(Exception):
    """The painter was told to stop before the clip was done."""


def paint_clip(
    recipe: Recipe, contents: Mapping[str, bytes], path: Path, stopped: Callable[[], bool]
) -> None:
    """Paint the clip of a recipe into the file `path`; `contents` holds the input files by address.

    Equal recipes and contents give equal bytes. The file appears whole or not at all. Raises UnusableInput for an
    input that cannot be used, and Interrupted when `stopped` says so between two frames.
    """
    props, draft = _decode(recipe, contents), path.with_suffix(".part")
    number = recipe.number or int(recipe.digest(contents)[:4], 16)
    try:
        painting = _Painting(recipe, props, number)
        with Reel(draft, painting.size, _sound(recipe, props, painting.frames)) as reel:
            for picture in _until(stopped, painting.pictures()):
                reel.add(picture)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _until(
    stopped: Callable[[], bool], pictures: Iterator[av.VideoFrame]
) -> Iterator[av.VideoFrame]:
    for picture in pictures:
        if stopped():
            raise Interrupted
        yield picture


def _decode(recipe: Recipe, contents: Mapping[str, bytes]) -> Props:
    """Open every input of a recipe."""

    def of(role: str) -> list[bytes]:
        return [contents[item.url] for item in recipe.inputs if item.role == role]

    return Props(
        opening=next(map(open_picture, of("first_frame")), None),
        closing=next(map(open_picture, of("end_frame")), None),
        references=tuple(map(open_picture, of("reference"))),
        base=next(map(Video, of("base")), None),
        feature=next(map(Video, of("feature")), None),
    )


def _sound(recipe: Recipe, props: Props, frames: int) -> Iterator[av.AudioFrame] | None:
    video = props.base or props.feature
    if recipe.keep_sound and video and video.has_sound:
        return video.sound()
    return hum(recipe.prompt, frames) if recipe.sound else None


class _Painting:
    """One clip on its way from recipe to pictures."""

    def __init__(self, recipe: Recipe, props: Props, number: int) -> None:
        self._recipe, self._props, self._number = recipe, props, number
        self.size = recipe.size(props.shape)
        self.frames = props.base.frame_count if props.base else recipe.frames
        self._opening, self._closing = self._full(props.opening), self._full(props.closing)
        if props.continued:
            self._opening = fit_cel(props.continued.last_frame(), self.size)

    def pictures(self) -> Iterator[av.VideoFrame]:
        """Yield the finished frames in order."""
        canvas, index = Canvas(self.size), 0
        for place, shot in enumerate(self._shots()):
            titles = self._titles(place, shot)
            for _ in self._backdrops(canvas, place, shot):
                self._letter(canvas, titles, index)
                self._finish(canvas, index)
                yield canvas.shot()
                index += 1

    def _shots(self) -> tuple[Shot, ...]:
        """Return the recipe's shots; an edited video keeps its own length and cuts."""
        return (Shot(self._recipe.prompt, self.frames),) if self._props.base else self._recipe.shots

    def _backdrops(self, canvas: Canvas, place: int, shot: Shot) -> Iterator[None]:
        """Draw the backgrounds of a shot, frame by frame: each step leaves the next one on the canvas."""
        if self._props.base:
            tint = tint_of(shot.prompt, self.size)
            for frame in self._props.base.frames():
                canvas.fill(Cel(planes_of(frame, self.size)))
                canvas.tint(tint, 0.5)
                yield
            return
        scenery = Scenery(f"{shot.prompt}/{place}", self.size, self._palette(place))
        for index in range(shot.frames):
            scenery.draw(canvas, index / FPS)
            yield

    def _titles(self, place: int, shot: Shot) -> Titles:
        recipe = self._recipe
        wording = Wording(
            prompt=shot.prompt,
            slate=f"{recipe.model} · {recipe.mode} · {self.size[0]}x{self.size[1]}",
            shot=self._label(place),
            job_id=recipe.stamp,
            elements=recipe.elements,
            watermark=recipe.watermark,
            edit=self._props.base is not None,
        )
        return Titles(wording, self.size, self._palette(place).sun, self._props.references)

    def _palette(self, place: int) -> Palette:
        """Choose a shot's colours. The first shot sets the mood: beside parts the clip's own prompt is ignored."""
        return pick_palette(self._shots()[0].prompt, place)

    def _label(self, place: int) -> str:
        """Say what kind of shot this is, if it is not simply the only one."""
        if self._props.base:
            return "edit"
        if len(self._shots()) > 1:
            return f"shot {place + 1}/{len(self._shots())}"
        return "next shot" if self._props.continued else ""

    def _letter(self, canvas: Canvas, titles: Titles, index: int) -> None:
        """Write the titles, in a fade more faintly than their scene: the hand-over picture has some in that place."""
        others = max(_fade(index, self._opening), _fade(self.frames - 1 - index, self._closing))
        bare = canvas.still() if others else None
        titles.draw(canvas, index, self.frames)
        if bare:
            canvas.blend(bare, others)

    def _finish(self, canvas: Canvas, index: int) -> None:
        """Fade hand-over pictures in or out, and put the frame code on all frames that are not such a picture."""
        left = self.frames - 1 - index
        for picture, distance in ((self._opening, index), (self._closing, left)):
            if picture and distance < _FADE_FRAMES:
                canvas.blend(picture, _fade(distance, picture))
        if (index or not self._opening) and (left or not self._closing):
            code = make_code_cel(self._number, index, self.size)
            canvas.lay(code, 0, self.size[1] - strip_height(self.size))

    def _full(self, picture: Image.Image | None) -> Cel | None:
        """Fill the frame with a picture, cropping what does not fit its shape."""
        return (
            make_cel(ImageOps.fit(picture, self.size, Image.Resampling.LANCZOS))
            if picture
            else None
        )


def _fade(distance: int, picture: Cel | None) -> float:
    """Return how much of a hand-over picture is seen so many frames from its own: 1 there, then smoothly down to 0."""
    if picture is None or distance >= _FADE_FRAMES:
        return 0.0
    share = 1 - distance / _FADE_FRAMES
    return share * share * (3 - 2 * share)
