"""What an error must carry so that a person can act on it; the root of both error trees."""

from typing import ClassVar, TypedDict, Unpack


class Evidence(TypedDict, total=False):
    """What is known about a failure, named the way it is printed."""

    clip_key: str | None
    job_id: str | None
    status: int | None
    code: int | None
    words: str


_LABELS = {
    "clip_key": "clip",
    "job_id": "job",
    "status": "HTTP",
    "code": "code",
    "words": "details",
}


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

    @property
    def told(self) -> str:
        """What happened and its evidence, without the advice: the form that is written down."""
        evidence = [
            f"{label} {value}" for name, label in _LABELS.items() if (value := getattr(self, name))
        ]
        return f"{self.what} ({', '.join(evidence)})" if evidence else self.what

    def __str__(self) -> str:
        return f"{self.told}. {self.next_step}".rstrip()
