"""What has to be painted for one request: read once from the body, without touching any picture."""

import hashlib
import itertools
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

FPS = 24
_RATIOS = {"16:9": (16, 9), "9:16": (9, 16), "1:1": (1, 1)}
_SHORT_SIDES = {"std": 720, "pro": 1080}
_MOST_SHOTS = 6
_SENTENCE_END = re.compile(r"(?<=[.!?;…])\s+|(?<=[。！？；])|[\r\n]+")  # noqa: RUF001  meant: Chinese ends too
_FAIL_WORD = re.compile(r"\[fail:([A-Z_]+)\]")


class UnusableInput(Exception):
    """A picture or video the request refers to cannot be fetched, read or used; the message says which and why."""


@dataclass(frozen=True)
class Shot:
    """One uninterrupted stretch of a clip."""

    prompt: str
    frames: int


@dataclass(frozen=True)
class Input:
    """A file the request refers to: `first_frame`, `end_frame`, `reference`, `feature` or `base`."""

    role: str
    url: str


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the picture, except the bytes behind the inputs' addresses."""

    model: str
    mode: str
    ratio: str | None
    prompt: str
    shots: tuple[Shot, ...]
    inputs: tuple[Input, ...]
    elements: tuple[str, ...]
    sound: bool
    keep_sound: bool
    watermark: bool
    short_side: int | None
    stamp: str = ""
    """The job id to burn in, or nothing."""
    number: int = 0
    """The job number of the frame code; 0 lets the recipe's own digest stand in."""

    @property
    def frames(self) -> int:
        """Length in frames, as requested."""
        return sum(shot.frames for shot in self.shots)

    def size(self, shape: tuple[int, int] | None) -> tuple[int, int]:
        """Return width and height in pixels; without a ratio of its own the clip follows `shape`, else it is 16:9."""
        across, down = _RATIOS[self.ratio or _nearest_ratio(shape or (16, 9))]
        short = _SHORT_SIDES[self.mode]
        if self.short_side:
            short = short * self.short_side // _SHORT_SIDES["std"]
        scale = short / min(across, down)
        return round(across * scale / 2) * 2, round(down * scale / 2) * 2

    def digest(self, contents: Mapping[str, bytes]) -> str:
        """Return the name of the painting: equal digests are equal files. `contents` holds bytes by address."""
        outline = asdict(self) | {
            "inputs": [
                (item.role, hashlib.sha256(contents[item.url]).hexdigest()) for item in self.inputs
            ]
        }
        return hashlib.sha256(json.dumps(outline, sort_keys=True).encode()).hexdigest()[:32]


def read_recipe(
    body: Mapping[str, Any], short_side: int | None = None, stamp: str = "", number: int = 0
) -> Recipe:
    """Read the recipe of a body that broke no rule."""
    videos = body.get("video_list", ())
    return Recipe(
        model=body["model"],
        mode=body.get("mode", "std"),
        ratio=body.get("aspect_ratio"),
        prompt=body.get("prompt", ""),
        shots=_shots(body),
        inputs=_inputs(body),
        elements=tuple(str(element["element_id"]) for element in body.get("element_list", ())),
        sound=body.get("sound") == "on",
        keep_sound=any(video.get("keep_original_sound") == "yes" for video in videos),
        watermark=body.get("watermark_info", {}).get("enabled", False),
        short_side=short_side,
        stamp=stamp,
        number=number,
    )


def read_fail_code(body: Mapping[str, Any]) -> str | None:
    """Return the fail code a prompt asks for with a word such as `[fail:UPSTREAM_BUSY]`, if it does."""
    found = _FAIL_WORD.search(
        " ".join([body.get("prompt", ""), *(part["prompt"] for part in segments_of(body))])
    )
    return found[1] if found else None


def segments_of(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of `multi_prompt`, however it was encoded."""
    listed = body.get("multi_prompt", [])
    parts: list[dict[str, Any]] = json.loads(listed) if isinstance(listed, str) else listed
    return parts


def _shots(body: Mapping[str, Any]) -> tuple[Shot, ...]:
    prompt, frames = body.get("prompt", ""), int(body.get("duration", "5")) * FPS
    if not body.get("multi_shot"):
        return (Shot(prompt, frames),)
    if body["shot_type"] == "customize":
        return tuple(
            Shot(part["prompt"], int(part["duration"]) * FPS) for part in segments_of(body)
        )
    return _cut(prompt, frames)


def _cut(prompt: str, frames: int) -> tuple[Shot, ...]:
    """Cut a prompt into shots of equal length, one per sentence if they last a second each."""
    # Nobody knows where the real model cuts by itself; this is as good as any, plain to see and easy to test.
    sentences = [sentence.strip() for sentence in _SENTENCE_END.split(prompt) if sentence.strip()]
    if len(sentences) < 2:
        sentences = [prompt] * 3
    count = min(len(sentences), _MOST_SHOTS, frames // FPS)
    texts, lengths = _spans(len(sentences), count), _spans(frames, count)
    return tuple(
        Shot(" ".join(sentences[first:last]), end - start)
        for (first, last), (start, end) in zip(texts, lengths, strict=True)
    )


def _spans(whole: int, parts: int) -> list[tuple[int, int]]:
    """Divide so many things into adjoining parts as equal as can be: where each begins and ends."""
    return list(itertools.pairwise(whole * part // parts for part in range(parts + 1)))


def _inputs(body: Mapping[str, Any]) -> tuple[Input, ...]:
    pictures = [
        Input(item.get("type", "reference"), item["image_url"])
        for item in body.get("image_list", ())
    ]
    videos = [Input(item["refer_type"], item["video_url"]) for item in body.get("video_list", ())]
    return (*pictures, *videos)


def _nearest_ratio(shape: tuple[int, int]) -> str:
    return min(
        _RATIOS, key=lambda name: abs(_RATIOS[name][0] / _RATIOS[name][1] - shape[0] / shape[1])
    )
