"""One `POST /video/generations` body, checked before it can cost anything."""

import json
from typing import Literal

from pydantic import JsonValue, ValidationError, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from prefect_kling.kling import rules
from prefect_kling.kling.errors import RequestRefused
from prefect_kling.kling.parameters import (
    STORED,
    ElementInput,
    ImageInput,
    ModelName,
    OnOff,
    RequestParameters,
    Segment,
    Url,
    VideoInput,
    WatermarkInfo,
    YesNo,
)
from prefect_kling.kling.violations import ERROR_TYPE, Violation, describe

__all__ = [
    "STORED",
    "ElementInput",
    "ImageInput",
    "ModelName",
    "OnOff",
    "Segment",
    "Url",
    "VideoInput",
    "VideoRequest",
    "WatermarkInfo",
    "YesNo",
]


class VideoRequest(RequestParameters):
    """One generation, with the page's own parameter names; equal requests make equal bodies.

    Constructing it costs nothing and raises pydantic's `ValidationError` naming field, value and
    rule for everything the operator's page or Kling's own documentation forbids;
    `violations.violations_of` takes the facts out of that error. Rules on which those two disagree
    do not stop a request: `disputes()` lists them (KlingCredentials can be set to refuse them).
    """

    @model_validator(mode="after")
    def _obey_the_rules(self, info: ValidationInfo) -> "VideoRequest":
        if info.context is STORED:
            return self
        trouble = _unwritable(self.body())
        if trouble:
            raise PydanticCustomError(
                "unwritable",
                "the request cannot be written as JSON: {trouble}",
                {"trouble": trouble},
            )
        broken = [violation for violation in rules.check(self) if not violation.is_disputed]
        if broken:
            raise _validation_error(broken)
        return self

    def disputes(self) -> list[Violation]:
        """List the broken rules on which the page and Kling's documentation disagree."""
        return [violation for violation in rules.check(self) if violation.is_disputed]

    def require_sendable(self) -> None:
        """Raise `RequestRefused` if the request cannot be written as JSON and so never be sent.

        Such a request can only come from a program that went around validation.
        """
        trouble = _unwritable(self.body())
        if trouble:
            raise RequestRefused(f"the request cannot be written as JSON: {trouble}")

    def body(self, multi_prompt_as: Literal["string", "array"] = "string") -> dict[str, JsonValue]:
        """Write the JSON body of the page.

        Durations are strings, absent things are left out (never null), and everything that has a
        price or a disputed default (`mode`, `sound`, `refer_type`, `keep_original_sound`) is always
        said. `multi_prompt` is a JSON string as the page types it; `"array"` writes what Kling's
        own API takes.
        """
        written = self.model_dump(
            exclude_none=True, exclude={"extra", "duration", "aspect_ratio", "multi_prompt"}
        )
        absent: tuple[object, ...] = ([], False, {"enabled": False})
        body = {name: value for name, value in written.items() if value not in absent}

        if not self.edits_video:
            body["duration"] = str(self.duration)
            if self.image_of_type("first_frame") is None:
                body["aspect_ratio"] = self.aspect_ratio

        if self.multi_prompt:
            segments = [
                {"index": index, "prompt": segment.prompt, "duration": str(segment.duration)}
                for index, segment in enumerate(self.multi_prompt, start=1)
            ]
            if multi_prompt_as == "array":
                body["multi_prompt"] = segments
            else:
                body["multi_prompt"] = json.dumps(segments, ensure_ascii=False)
            # The page wants one of prompt, image, video in every body; Kling ignores the prompt
            # here.
            body.setdefault("prompt", self.multi_prompt[0].prompt)

        return body | self.extra


def _unwritable(body: dict[str, JsonValue]) -> str:
    """Say why a body cannot be sent as JSON: halves of characters, NaN, numbers without end."""
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError as error:
        return f"the character U+{ord(error.object[error.start]):04X} cannot stand in a text"
    except (ValueError, TypeError, RecursionError) as error:
        return str(error)
    return ""


def _validation_error(violations: list[Violation]) -> ValidationError:
    """Return an error with one entry for each violation, at its place.

    Pydantic adds what is around the request.
    """
    entries = []
    for violation in violations:
        facts = {"sentence": describe(violation), "violation": violation}
        entries.append(
            InitErrorDetails(
                type=PydanticCustomError(ERROR_TYPE, "{sentence}", facts),
                loc=violation.place,
                input=violation.value,
            )
        )
    return ValidationError.from_exception_data("VideoRequest", entries)
