"""What an error carries so that a person or a program can act on it.

The root of both error trees.
"""

from typing import ClassVar, TypedDict, Unpack

from prefect_kling.kling.job_ids import quoted
from prefect_kling.kling.server_words import words


class ErrorDetails(TypedDict, total=False):
    """Facts about a failure.

    `detail` is what another system said: the API, the store, a library.
    """

    clip_key: str | None
    job_id: str | None
    status: int | None
    code: int | None
    detail: str


_LABELS = {
    "clip_key": "clip",
    "job_id": "job",
    "status": "HTTP",
    "code": "code",
    "detail": "details",
}
_IDS = ("clip_key", "job_id")


class DetailedError(Exception):
    """An error that says what happened, shows the facts it carries, and ends with the next step."""

    next_step: ClassVar[str] = ""

    def __init__(self, message: str, **details: Unpack[ErrorDetails]) -> None:
        super().__init__(message)
        self.message = message
        self.clip_key = details.get("clip_key")
        self.job_id = details.get("job_id")
        self.status = details.get("status")
        self.code = details.get("code")
        self.detail = details.get("detail", "")

    @property
    def summary(self) -> str:
        """The message and the facts, without the next step: the form that is written down.

        An id that the message names is not among the facts once more.
        """
        facts = []
        for name, label in _LABELS.items():
            value = getattr(self, name)
            if value and name in _IDS and str(value) in self.message:
                continue
            if value and name == "job_id":
                value = quoted(value)
            if value:
                facts.append(f"{label} {value}")
        if not facts:
            return self.message
        return f"{self.message} ({', '.join(facts)})"

    def __str__(self) -> str:
        return f"{self.summary}. {self.next_step}".rstrip()


def in_words(error: BaseException) -> str:
    """Return any error as a line that may be kept; errors that are not ours are named as well."""
    if isinstance(error, DetailedError):
        return str(error)
    told = words(str(error))
    return f"{type(error).__name__}: {told}".rstrip(": ")
