"""An S3 in memory, and actors that stop before every call of it, so that they can be killed."""

import asyncio
import selectors
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from io import BytesIO
from typing import Any

from botocore.exceptions import ClientError, EndpointConnectionError

START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


class Clock:
    """The one clock of a model; nothing in it waits in real time."""

    def __init__(self) -> None:
        self.now = START

    def datetime(self) -> datetime:
        """Return the time of day."""
        return datetime.fromtimestamp(self.now, UTC)


class ActorDied(BaseException):
    """The process of an actor was killed: it does nothing any more."""


class Actor:
    """A process of the model: a thread with its own event loop, which runs when it is told to.

    It stops before each call of the store or the API and before each sleep, and goes on with the
    answer it is given there.
    """

    _here = threading.local()

    def __init__(self, name: str, work: Callable[[], Coroutine[Any, Any, None]], clock: Clock):
        self.name = name
        self.clock = clock
        self.waits_for = "start"
        self.is_dead = False
        self.is_finished = False
        self.had_fault = False
        self.error: BaseException | None = None
        self._work = work
        self._answer = "ok"
        self._turn = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._back.acquire()

    @classmethod
    def current(cls) -> "Actor":
        """Return the actor whose thread this is."""
        actor: Actor = cls._here.actor
        return actor

    def resume(self, answer: str = "ok") -> None:
        """Let it go on to its next stop. `die` kills it where it stands."""
        self._answer = answer
        if answer not in ("ok", "die"):
            self.had_fault = True
        self._turn.release()
        self._back.acquire()

    def stop(self, what: str) -> str:
        """Wait for the next turn, and return the answer that was given for it."""
        if self.is_dead:
            raise ActorDied
        self.waits_for = what
        self._back.release()
        self._turn.acquire()
        if self._answer == "die":
            self.is_dead = True
            raise ActorDied
        return self._answer

    def _run(self) -> None:
        Actor._here.actor = self
        try:
            self.stop("start")
            with asyncio.Runner(loop_factory=lambda: _Loop(self)) as runner:
                runner.run(self._work())
        except BaseException as error:
            if not self.is_dead:
                self.error = error
        self.is_finished = True
        self._back.release()


class _Selector(selectors.SelectSelector):
    """Passes time only when the actor is told to go on."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self._actor = actor
        self.skipped = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError(f"{self._actor.name} waits for nothing")
        if not self._actor.is_dead:
            until = self._actor.clock.now + timeout
            try:
                self._actor.stop("sleep")
            except ActorDied:
                self.skipped += timeout
                return []
            self._actor.clock.now = max(self._actor.clock.now, until)
            return []
        self.skipped += timeout
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, actor: Actor) -> None:
        self._own = _Selector(actor)
        self._actor = actor
        super().__init__(self._own)
        # Seconds since 1970 are too large for a float to tell nanoseconds.
        self._clock_resolution = 0.001

    def time(self) -> float:
        return self._actor.clock.now + self._own.skipped


class Store:
    """The objects of one bucket, with the conditions of S3."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.objects: dict[str, tuple[bytes, str, float]] = {}
        self.written: Callable[[str, bytes], None] = lambda key, body: None
        self._version = 0

    def get_object(self, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803
        """Return an object."""
        self._stop(f"get {Key}")
        if Key not in self.objects:
            raise _refused("NoSuchKey", 404)
        body, etag, at = self.objects[Key]
        return {
            "Body": BytesIO(body),
            "ETag": etag,
            "LastModified": datetime.fromtimestamp(at, UTC),
            "ResponseMetadata": {"HTTPHeaders": self._headers()},
        }

    def put_object(
        self,
        Bucket: str,  # noqa: N803
        Key: str,  # noqa: N803
        Body: Any,  # noqa: N803
        IfMatch: str | None = None,  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
        **other: object,
    ) -> dict[str, Any]:
        """Write an object, under a condition if there is one."""
        answer = self._stop(f"put {Key}")
        found = self.objects.get(Key)
        if IfNoneMatch is not None and found is not None:
            raise _refused("PreconditionFailed", 412)
        if IfMatch is not None and (found is None or found[1] != IfMatch):
            raise _refused("PreconditionFailed", 412)
        body = Body if isinstance(Body, bytes) else Body.read()
        self._version += 1
        etag = f'"{self._version}"'
        self.objects[Key] = (body, etag, float(int(self.clock.now)))
        self.written(Key, body)
        self._lose(answer)
        return {"ETag": etag}

    def delete_object(self, Bucket: str, Key: str) -> None:  # noqa: N803
        """Remove an object."""
        answer = self._stop(f"delete {Key}")
        self.objects.pop(Key, None)
        self._lose(answer)

    def get_paginator(self, name: str) -> "Store":
        """Return what lists objects."""
        return self

    def paginate(self, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:  # noqa: N803
        """Yield one page with all keys."""
        self._stop(f"list {Prefix}")
        found = [
            {"Key": key, "LastModified": datetime.fromtimestamp(self.objects[key][2], UTC)}
            for key in sorted(self.objects)
            if key.startswith(Prefix)
        ]
        yield {"Contents": found, "ResponseMetadata": {"HTTPHeaders": self._headers()}}

    def _headers(self) -> dict[str, str]:
        return {"date": format_datetime(self.clock.datetime(), usegmt=True)}

    def _stop(self, call: str) -> str:
        answer = Actor.current().stop(call)
        if answer == "fail":
            raise EndpointConnectionError(endpoint_url="model")
        return answer

    def _lose(self, answer: str) -> None:
        if answer == "lose":
            raise EndpointConnectionError(endpoint_url="model")


def _refused(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "model"
    )
