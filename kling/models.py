"""What each model of the API can do and what it costs: one dated table.

Everything that depends on a model reads its specification here: the rules of a request, quotes,
planning, forms and JSON Schemas. No other file compares names of models.

A specification decides what is accepted and what it costs. It never decides what is sent: it has no
defaults for parameters, so that no change of this table can change the clip key of a request.
"""

import os
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

Mode = Literal["std", "pro"]
AspectRatio = Literal["16:9", "9:16", "1:1"]
RateKind = Literal["plain", "sound", "keep_sound"]
Rates = dict[Mode, dict[RateKind, Annotated[Decimal, Field(ge=0)]]]

FILE_SETTING = "PREFECT_KLING_MODELS"
"""The environment variable that names a `ModelsFile`; without it only the built-in models are
known."""

DEFAULT_MODEL = "kling-v3-omni"
"""The model of storyboards and tables that name none. Changing it would change the clip keys of
existing films."""


class ModelSpecification(BaseModel):
    """What one model accepts and what it costs, on a given day, by a given source."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: Annotated[str, Field(min_length=1, pattern=r"^\S+$")]
    """The name that requests give in `model`."""
    as_of: date
    """The day on which limits and prices were read."""
    source: Annotated[str, Field(min_length=1)]
    """Where limits and prices were read."""

    min_seconds: Annotated[int, Field(ge=1)] = 3
    """Shortest clip, in whole seconds."""
    max_seconds: Annotated[int, Field(ge=1)]
    """Longest clip, in whole seconds."""
    plain_seconds: tuple[int, ...] | None = None
    """The only lengths of clips made from text or a first frame alone, where sources disagree; None
    for no limit."""
    modes: tuple[Mode, ...] = ("std", "pro")
    """Picture sizes."""
    aspect_ratios: tuple[AspectRatio, ...] = ("16:9", "9:16", "1:1")
    """Shapes of the picture."""
    max_prompt_length: Annotated[int, Field(ge=1)] = 2500
    """Longest prompt, in characters."""

    max_references: Annotated[int, Field(ge=0)] = 7
    """Most images and elements together."""
    max_references_with_video: Annotated[int, Field(ge=0)] = 4
    """Most images and elements together beside an input video."""
    max_images_with_frame: int | None = None
    """Most images of a request that has an end frame (or, disputed, a first frame); None for no
    limit of its own."""
    max_elements_with_first_frame: Annotated[int, Field(ge=0)] = 3
    """Most elements beside a first frame."""
    max_elements_with_end_frame: Annotated[int, Field(ge=0)] = 3
    """Most elements beside a first and an end frame."""

    max_videos: Annotated[int, Field(ge=0, le=1)] = 1
    """Most input videos: 1, or 0 for a model that takes none."""
    max_input_seconds: Annotated[int, Field(ge=1)] = 10
    """Longest input video, in seconds."""
    max_seconds_with_feature: Annotated[int, Field(ge=1)] = 10
    """Longest clip that continues from a video, in whole seconds."""
    sound: bool = True
    """Whether the model makes sound."""
    sound_is_disputed: bool = False
    """Whether some sources say that it does not."""

    max_shots: Annotated[int, Field(ge=0)] = 0
    """Most shots of one multi-shot clip; 0 for a model that makes none."""
    max_shot_prompt_length: Annotated[int, Field(ge=1)] = 512
    """Longest prompt of one shot of a multi-shot clip, in characters."""

    rates: Rates
    """US dollars per second by mode and kind: `plain`, with `sound`, or keeping an input video's
    sound."""
    rates_are_confirmed: bool = False
    """Whether the rates were read in the operator's price table; budgets reserve the dearest rate
    if not."""

    @model_validator(mode="after")
    def _every_mode_has_a_price(self) -> "ModelSpecification":
        for mode in self.modes:
            if "plain" not in self.rates.get(mode, {}):
                raise ValueError(f"{self.name} has mode {mode} and no plain rate for it")
        return self

    def rate(self, mode: Mode, kind: RateKind) -> Decimal:
        """Return US dollars per second.

        A kind without a rate of its own costs what a plain clip costs.
        """
        rates = self.rates[mode]
        return rates.get(kind, rates["plain"])

    def highest_rate(self, mode: Mode) -> Decimal:
        """Return the dearest US dollars per second of a mode."""
        return max(self.rates[mode].values())

    def highest_rate_with_video(self, mode: Mode) -> Decimal:
        """Return the dearest US dollars per second of a clip with an input video."""
        rates = self.rates[mode]
        if "keep_sound" in rates:
            return rates["keep_sound"]
        return self.highest_rate(mode)


class ModelUnknown(ValueError):
    """There is no specification of this model.

    `name` is what was asked for, `known` what there is.
    """

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        super().__init__(f"there is no model {name!r}; known are {', '.join(known)}")
        self.name = name
        self.known = known


# The page's headline "from $0.0064/s" contradicts its own table by a factor of ten, and "85% off"
# is a mistranslation of "pay 85 %": only the table is used.
_PAGE = "the price table of the operator's Omni-Video page"
_PAGE_DATE = date(2026, 11, 23)

BUILT_IN_MODELS = (
    ModelSpecification(
        name="kling-video-o1",
        as_of=_PAGE_DATE,
        source=_PAGE,
        max_seconds=10,
        plain_seconds=(5, 10),
        max_images_with_frame=2,
        max_elements_with_end_frame=0,
        sound_is_disputed=True,
        rates={
            "std": {"plain": Decimal("0.0633"), "sound": Decimal("0.0956")},
            "pro": {"plain": Decimal("0.0853"), "sound": Decimal("0.1280")},
        },
        rates_are_confirmed=True,
    ),
    ModelSpecification(
        name="kling-v3-omni",
        as_of=_PAGE_DATE,
        source=_PAGE,
        max_seconds=15,
        max_shots=6,
        rates={
            "std": {
                "plain": Decimal("0.0633"),
                "keep_sound": Decimal("0.0853"),
                "sound": Decimal("0.0956"),
            },
            "pro": {
                "plain": Decimal("0.0853"),
                "keep_sound": Decimal("0.1059"),
                "sound": Decimal("0.1280"),
            },
        },
        rates_are_confirmed=True,
    ),
)


class ModelsFile(BaseModel):
    """A file of models that this package does not know, and of an account's own prices."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    models: list[ModelSpecification] = []
    """Models to add; one with the name of a built-in model replaces it."""
    prices: dict[str, Rates] = {}
    """US dollars per second by model, mode and kind, in place of the rates of a known model."""


class ModelsFileInvalid(Exception):
    """The file named by `PREFECT_KLING_MODELS` cannot be used.

    Nothing is sent at prices that may be wrong.
    """


class _Registry:
    """The models known in this process. The file is read once, when a model is first asked for."""

    def __init__(self) -> None:
        self.models = {model.name: model for model in BUILT_IN_MODELS}
        self.file_is_read = False

    def read_file(self) -> None:
        if self.file_is_read:
            return
        path = os.environ.get(FILE_SETTING)
        if path:
            self.models |= {model.name: model for model in read_models(Path(path))}
        self.file_is_read = True


_registry = _Registry()


def known_models() -> Iterator[ModelSpecification]:
    """Yield the specifications known in this process: built-in ones first, then added ones."""
    _registry.read_file()
    yield from tuple(_registry.models.values())


def find_model(name: str) -> ModelSpecification:
    """Return the specification of a model. Raises `ModelUnknown`."""
    _registry.read_file()
    if name not in _registry.models:
        raise ModelUnknown(name, tuple(_registry.models))
    return _registry.models[name]


def prices_in_words(model: ModelSpecification) -> str:
    """Return what a second of a model costs by its modes, as forms say it."""
    parts = []
    for mode in model.modes:
        told = f"{mode} ${model.rate(mode, 'plain')}"
        if "sound" in model.rates[mode]:
            told += f" (with sound ${model.rate(mode, 'sound')})"
        parts.append(told)
    return ", ".join(parts)


def register_model(specification: ModelSpecification) -> None:
    """Make a model known in this process, or replace the limits and prices of a known one.

    Requests, quotes, plans, forms and JSON Schemas made afterwards follow it. Calling it twice is
    safe.
    """
    _registry.read_file()
    _registry.models[specification.name] = specification


def unregister_model(name: str) -> None:
    """Undo `register_model`: a built-in model gets its own limits back, others are forgotten."""
    _registry.read_file()
    _registry.models.pop(name, None)
    for built_in in BUILT_IN_MODELS:
        if built_in.name == name:
            _registry.models[name] = built_in


def read_models(path: Path) -> list[ModelSpecification]:
    """Read a `ModelsFile` in YAML or JSON and return the specifications that it adds or changes.

    Free, and safe to repeat. Raises `ModelsFileInvalid` naming the file and what is wrong with it.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        file = ModelsFile.model_validate(content)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelsFileInvalid(f"the models file {path} cannot be used: {error}") from error

    known = {model.name: model for model in (*BUILT_IN_MODELS, *file.models)}
    changed = {model.name: model for model in file.models}
    for name, rates in file.prices.items():
        if name not in known:
            raise ModelsFileInvalid(
                f"the models file {path} has prices of {name!r}, which is not a known model"
            )
        fields = known[name].model_dump() | {"rates": rates, "source": f"prices in {path.name}"}
        try:
            changed[name] = ModelSpecification.model_validate(fields)
        except ValueError as error:
            raise ModelsFileInvalid(f"the models file {path} cannot be used: {error}") from error
    return list(changed.values())
