"""What an error must carry so that a person can act on it; the root of both error trees."""

from typing import ClassVar, TypedDict, Unpack


class Evidence(TypedDict, total=False):
    """What is known about a failure, named the way it is printed."""

    clip_key: str | None
    job_id: str | None
    status: int | None
    code: int | None
    words: str


_LABELS = {"clip_key": "clip", "job_id": "job", "status": "HTTP", "code": "code", "words": "server said"}


class EvidencedError(Exception):
    """An error that says what happened, shows its evidence, and ends with the next step."""

    next_step: ClassVar[str] = ""

    def __init__(self, what: str, **evidence: Unpack[Evidence]) -> None:
        super().__init__(what)
        self.what = what
        self.clip_key = evidence.get("clip_key")
        self.job_id = evidence.get("job_id")
        self.status = evidence.get("status")
        self.code = evidence.get("code")
        self.words = evidence.get("words", "")

    def __str__(self) -> str:
        told = [f"{label} {value}" for name, label in _LABELS.items() if (value := getattr(self, name))]
        return " ".join(part for part in (self.what, f"({', '.join(told)})." if told else "", self.next_step) if part)
