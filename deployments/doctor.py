"""An examination: checks made in turn, each with a verdict, and with a cure where something is wrong."""

import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime
from enum import StrEnum

import httpx
from pydantic import SecretStr

from prefect_kling.blocks import KlingArchive, KlingCredentials
from prefect_kling.kling.client import Balance, trust_store
from prefect_kling.kling.error_details import DetailedError
from prefect_kling.studio.storage.bucket import Bucket

WAIT_SECONDS = 10.0


class Verdict(StrEnum):
    """What a check came to; only a fault stands in the way of a run."""

    OK = "ok"
    HINT = "hint"
    FAULT = "fault"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What one check found, and for hints and faults what to do."""

    name: str
    verdict: Verdict
    words: str
    cure: str = ""

    def __str__(self) -> str:
        told = " ".join(f"{self.words} → {self.cure}".removesuffix(" → ").split())
        return f"{self.verdict:<7}  {self.name}: {told}"


@dataclass
class Visit:
    """One examination: the names of the blocks, and what the checks so far have loaded or measured."""

    credentials: str = "default"
    archive: str = "default"
    access: KlingCredentials = field(init=False, repr=False)
    storage: KlingArchive = field(init=False, repr=False)
    balance: Balance = field(init=False)
    api_ahead: float | None = field(init=False, default=None)
    store_ahead: float | None = field(init=False, default=None)
    store_address: str = field(init=False, default="")

    @property
    def bucket(self) -> Bucket:
        """The bucket and prefix of the archive."""
        return self.storage.get_archive().bucket

    @property
    def store_trust(self) -> ssl.SSLContext | bool:
        """What the credentials block says about certificates of the store."""
        said = self.storage.bucket.credentials.aws_client_parameters.get_params_override().get(
            "verify", True
        )
        if isinstance(said, bool):
            return trust_store() if said else False
        return ssl.create_default_context(cafile=str(said))

    def hide(self, words: str) -> str:
        """Blot out whatever secret this visit knows of, and everything in an address that could be one."""
        blocks = [getattr(self, "access", None)]
        blocks += (
            [storage.bucket.credentials] if (storage := getattr(self, "storage", None)) else []
        )
        for value in (value for block in blocks if block for value in vars(block).values()):
            if isinstance(value, SecretStr) and value.get_secret_value():
                words = words.replace(value.get_secret_value(), "<hidden>")
        return re.sub(r"(?<=//)[^/@\s]+@|(?<=\w)\?\S+", "", words)


Look = Callable[[Visit], Awaitable[Finding]]


@dataclass(frozen=True)
class Check:
    """A line of the examination: what is looked at, which checks must have gone well before, and the usual cure."""

    name: str
    look: Look
    needs: tuple[str, ...] = ()
    cure: str = ""


async def examine(visit: Visit, checks: Sequence[Check]) -> AsyncIterator[Finding]:
    """Make the checks in turn and yield what each finds. Raises nothing, costs nothing, may be repeated at any time."""
    bad: set[str] = set()
    for check in checks:
        missing = [name for name in check.needs if name in bad]
        if missing:
            found = Finding(check.name, Verdict.SKIPPED, f"needs {' and '.join(missing)}")
        else:
            found = await _look(check, visit)
        if found.verdict in (Verdict.FAULT, Verdict.SKIPPED):
            bad.add(check.name)
        yield found


async def _look(check: Check, visit: Visit) -> Finding:
    try:
        found = await check.look(visit)
    except DetailedError as error:
        found = fault(error.summary, check.cure or error.next_step)
    except Exception as error:  # whatever a foreign library raises is what the person must hear
        found = fault(f"{type(error).__name__}: {error}".rstrip(": "), check.cure)
    return replace(
        found, name=check.name, words=visit.hide(found.words), cure=visit.hide(found.cure)
    )


def ok(words: str) -> Finding:
    """All is well."""
    return Finding("", Verdict.OK, words)


def hint(words: str, cure: str) -> Finding:
    """Runs work, but somebody should know."""
    return Finding("", Verdict.HINT, words, cure)


def fault(words: str, cure: str) -> Finding:
    """Runs would fail, or could not be trusted."""
    return Finding("", Verdict.FAULT, words, cure)


async def call(
    method: str, url: str, verify: ssl.SSLContext | bool | None = None
) -> tuple[int, float | None, bytes]:
    """Call once; return the status, how many seconds this machine is ahead of the one that answers, and the body."""
    async with httpx.AsyncClient(
        verify=trust_store() if verify is None else verify, timeout=WAIT_SECONDS
    ) as http:
        before = time.time()
        response = await http.request(method, url)
        middle = (before + time.time()) / 2
    try:
        ahead = middle - parsedate_to_datetime(response.headers.get("date", "")).timestamp()
    except ValueError:
        return response.status_code, None, response.content
    return response.status_code, ahead, response.content
