"""Tags: who pays for a clip, such as its project and its client. They never change what is made."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticKnownError

from prefect_kling.kling.server_words import one_line

TAG_PREFIX = "tag."
"""`tag.NAME` is a tag as a column of a table, and as something to report by."""
MOST_TAGS = 8
LONGEST_NAME = 30
LONGEST_VALUE = 60


def _value(text: str) -> str:
    """Return a value as one printable line: equal values are to be one group of a report."""
    line = one_line(text)
    if not line:
        raise PydanticKnownError("string_too_short", {"min_length": 1})
    return line


TagName = Annotated[str, Field(pattern=r"^[\w-]+$", max_length=LONGEST_NAME)]
TagValue = Annotated[str, Field(min_length=1, max_length=LONGEST_VALUE), AfterValidator(_value)]
Tags = Annotated[dict[TagName, TagValue], Field(max_length=MOST_TAGS)]
"""Short values by name. `project` and `client` are names that reports know as they stand."""

TAGS: TypeAdapter[dict[str, str]] = TypeAdapter(Tags)


def usable_tags(given: Mapping[str, object]) -> dict[str, str]:
    """Return those of some names and values that can be tags; the others are left out.

    For what an earlier version has stored: new tables are refused where one of theirs cannot be.
    """
    usable: dict[str, str] = {}
    for name, value in given.items():
        try:
            usable |= TAGS.validate_python({name: value})
        except ValidationError:
            continue
        if len(usable) == MOST_TAGS:
            break
    return usable


def parse_tags(given: object) -> object:
    """Return tags written as texts such as `project=spring` as names and values.

    Anything but a list of texts is returned as it is, to be validated. Raises `ValueError` for a
    text that is no tag.
    """
    if not isinstance(given, list | tuple):
        return given
    tags: dict[str, str] = {}
    for text in given:
        name, separator, value = str(text).partition("=")
        if not separator:
            raise ValueError(f"a tag is written as name=value, such as project=spring, not {text}")
        tags[name.strip()] = value.strip()
    return tags


def written_tags(tags: Mapping[str, str]) -> list[str]:
    """Return tags as texts, as forms show them."""
    return [f"{name}={value}" for name, value in tags.items()]
