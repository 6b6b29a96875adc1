"""What the painter needs to know of the body of a request that broke no rule."""

import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FPS = 24
_RATIOS = {"16:9": (16, 9), "9:16": (9, 16), "1:1": (1, 1)}
_SHORT_SIDES = {"std": 720, "pro": 1080}
_MAX_SHOTS = 6
_SENTENCE_END = re.compile(r"(?<=[.!?;…])\s+|(?<=[。！？；])|[\r\n]+")  # noqa: RUF001  Chinese too
_FAIL_CODE = re.compile(r"\[fail:([A-Z_]+)\]")
_SECONDS = re.compile(r"\[seconds:([0-9]{1,5})\]")

Body = Mapping[str, Any]
Size = tuple[int, int]
"""Width and height in pixels."""


class UnusableInput(Exception):
    """An input cannot be fetched, decoded or used; the message says which one and why."""


@dataclass(frozen=True)
class Shot:
    """One uninterrupted part of a clip."""

    prompt: str
    frames: int


@dataclass(frozen=True)
class Input:
    """A file the request refers to."""

    role: str
    """`first_frame`, `end_frame`, `reference`, `feature` or `base`."""
    url: str


def read_inputs(body: Body) -> list[Input]:
    """Return the files a request refers to, in its order."""
    images = body.get("image_list", [])
    videos = body.get("video_list", [])
    inputs = [Input(image.get("type", "reference"), image["image_url"]) for image in images]
    inputs += [Input(video["refer_type"], video["video_url"]) for video in videos]
    return inputs


def without_addresses(body: Body) -> Body:
    """Return a request without the addresses in it: those of its inputs and its callback's."""
    said = {name: value for name, value in body.items() if name != "callback_url"}
    for name in ("image_list", "video_list"):
        said[name] = [_without_address(each) for each in body.get(name, [])]
    return said


def _without_address(entry: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in entry.items() if not field.endswith("_url")}


def read_shots(body: Body) -> list[Shot]:
    """Return the shots of a clip in order; most clips have one."""
    prompt = body.get("prompt", "")
    frames = int(body.get("duration", "5")) * FPS
    if not body.get("multi_shot"):
        return [Shot(prompt, frames)]
    if body["shot_type"] == "customize":
        return [Shot(part["prompt"], int(part["duration"]) * FPS) for part in _segments(body)]

    # Where the real model cuts is not documented. Here it cuts into one shot per sentence, all of
    # equal length and none shorter than a second.
    sentences = [sentence.strip() for sentence in _SENTENCE_END.split(prompt) if sentence.strip()]
    if len(sentences) < 2:
        sentences = [prompt] * 3
    count = min(len(sentences), _MAX_SHOTS, frames // FPS)
    shots = []
    for texts, span in zip(_split(len(sentences), count), _split(frames, count), strict=True):
        shots.append(Shot(" ".join(sentences[slice(*texts)]), span[1] - span[0]))
    return shots


def read_fail_code(body: Body) -> str | None:
    """Return the fail code a prompt asks for with, for example, `[fail:UPSTREAM_BUSY]`."""
    prompts = [body.get("prompt", "")]
    prompts += [segment["prompt"] for segment in _segments(body)]
    found = _FAIL_CODE.search(" ".join(prompts))
    return found[1] if found else None


def read_seconds(body: Body) -> int | None:
    """Return how long a prompt asks its job to take with, for example, `[seconds:20]`."""
    found = _SECONDS.search(body.get("prompt", ""))
    return int(found[1]) if found else None


def clip_size(body: Body, short_side: int | None, input_size: Size | None) -> Size:
    """Return the size of a clip; `short_side` replaces the 720 pixels of a std clip.

    Without a ratio of its own, the clip takes the ratio nearest to `input_size`, or 16:9.
    """
    width, height = _RATIOS[body.get("aspect_ratio") or _nearest_ratio(input_size or (16, 9))]
    side = _SHORT_SIDES[body.get("mode", "std")]
    if short_side:
        side = side * short_side // _SHORT_SIDES["std"]
    scale = side / min(width, height)
    return round(width * scale / 2) * 2, round(height * scale / 2) * 2


def _segments(body: Body) -> list[dict[str, Any]]:
    """Return `multi_prompt`, which may be encoded as a string."""
    segments: Any = body.get("multi_prompt", [])
    if isinstance(segments, str):
        segments = json.loads(segments)
    return list(segments)


def _split(length: int, parts: int) -> list[tuple[int, int]]:
    """Return the start and end of each of `parts` adjoining parts, as equal as possible."""
    return list(itertools.pairwise(length * part // parts for part in range(parts + 1)))


def _nearest_ratio(size: Size) -> str:
    def distance(name: str) -> float:
        width, height = _RATIOS[name]
        return abs(width / height - size[0] / size[1])

    return min(_RATIOS, key=distance)
