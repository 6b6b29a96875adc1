"""Painting one clip: landscape, titles, hand-over pictures and frame codes, frame by frame into an MP4."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
from PIL import Image, ImageOps

from prefect_kling.kling.sandbox.canvas import Canvas, Cel, make_cel, planes_of
from prefect_kling.kling.sandbox.footage import Video, open_picture
from prefect_kling.kling.sandbox.frame_code import strip_height
from prefect_kling.kling.sandbox.recipe import FPS, Recipe, Shot
from prefect_kling.kling.sandbox.reel import Reel, hum
from prefect_kling.kling.sandbox.scenery import Scenery, pick_palette, tint_of
from prefect_kling.kling.sandbox.titles import Titles, Wording, make_code_cel

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
        if video := self.base or self.feature:
            return video.shape
        return self.opening.size if self.opening else None


class Interrupted(Exception):
    """The painter was told to stop before the clip was done."""


def paint_clip(recipe: Recipe, contents: Mapping[str, bytes], path: Path, stopped: Callable[[], bool]) -> None:
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


def _until(stopped: Callable[[], bool], pictures: Iterator[av.VideoFrame]) -> Iterator[av.VideoFrame]:
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
        opening = props.feature.last_picture() if props.feature else props.opening
        self._opening, self._closing = self._full(opening), self._full(props.closing)

    def pictures(self) -> Iterator[av.VideoFrame]:
        """Yield the finished frames in order."""
        canvas, index = Canvas(self.size), 0
        for place, shot in enumerate(self._shots()):
            titles = self._titles(place, shot)
            for _ in self._backdrops(canvas, place, shot):
                if not self._is_handed_over(index):
                    titles.draw(canvas, index, self.frames)
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
        scenery = Scenery(f"{shot.prompt}/{place}", self.size, pick_palette(self._recipe.prompt, place))
        for index in range(shot.frames):
            scenery.draw(canvas, index / FPS)
            yield

    def _titles(self, place: int, shot: Shot) -> Titles:
        recipe, count = self._recipe, len(self._shots())
        wording = Wording(
            prompt=shot.prompt,
            slate=f"{recipe.model} · {recipe.mode} · {self.size[0]}x{self.size[1]}",
            shot="edit" if self._props.base else f"shot {place + 1}/{count}" if count > 1 else "",
            job_id=recipe.stamp,
            elements=recipe.elements,
            watermark=recipe.watermark,
            edit=self._props.base is not None,
        )
        return Titles(wording, self.size, pick_palette(recipe.prompt, place).sun, self._props.references)

    def _is_handed_over(self, index: int) -> bool:
        """Say whether a frame belongs to a fade: hand-over pictures bring titles of their own."""
        opens = self._opening is not None and index < _FADE_FRAMES
        return opens or (self._closing is not None and index >= self.frames - _FADE_FRAMES)

    def _finish(self, canvas: Canvas, index: int) -> None:
        """Fade hand-over pictures in or out, and put the frame code on all frames that are not such a picture."""
        left = self.frames - 1 - index
        if self._opening and index < _FADE_FRAMES:
            canvas.blend(self._opening, 1 - index / _FADE_FRAMES)
        if self._closing and left < _FADE_FRAMES:
            canvas.blend(self._closing, 1 - left / _FADE_FRAMES)
        if (index or not self._opening) and (left or not self._closing):
            code = make_code_cel(self._number, index, self.size)
            canvas.lay(code, 0, self.size[1] - strip_height(self.size))

    def _full(self, picture: Image.Image | None) -> Cel | None:
        """Fill the frame with a picture, cropping what does not fit its shape."""
        return make_cel(ImageOps.fit(picture, self.size, Image.Resampling.LANCZOS)) if picture else None
