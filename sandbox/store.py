"""The jobs of a sandbox on disk: one SQLite table, read and written by primary key or index only."""

import json
import sqlite3
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL,
    origin TEXT NOT NULL,
    created INTEGER NOT NULL,
    ready INTEGER NOT NULL,
    held INTEGER NOT NULL,
    ended INTEGER,
    cost INTEGER NOT NULL DEFAULT 0,
    file TEXT,
    fail_code TEXT,
    fail_msg TEXT,
    link INTEGER NOT NULL DEFAULT 0,
    called_back INTEGER NOT NULL DEFAULT 0,
    settled INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS unsettled ON jobs (ended) WHERE settled = 0;
"""


@dataclass(frozen=True)
class Job:
    """One accepted request. Times are epoch milliseconds, money is in ten-thousandths of a USD.

    A job ends at `ended`, which is known, and may lie ahead, as soon as its clip is painted; nothing has to
    happen at that moment, the state simply reads differently from then on.
    """

    number: int
    id: str
    body: dict[str, Any]
    origin: str
    created: int
    ready: int
    held: int
    ended: int | None = None
    cost: int = 0
    file: str | None = None
    fail_code: str | None = None
    fail_msg: str | None = None
    link: int = 0
    called_back: int = 0
    settled: int = 0

    def state(self, now: int) -> str:
        """Return the page's word for the state at a time: the first fifth of the render time is pending."""
        if self.ended is not None and now >= self.ended:
            return "failed" if self.fail_code else "completed"
        return "processing" if now >= self.created + (self.ready - self.created) / 5 else "pending"

    @property
    def model(self) -> str:
        """The model as replies name it."""
        return f"kling-video/{self.body['model']}"


@dataclass(frozen=True)
class Outcome:
    """How painting a job ended: with a file and its price, or with a fail code."""

    file: str | None = None
    cost: int = 0
    fail_code: str | None = None
    fail_msg: str | None = None


@dataclass(frozen=True)
class Sums:
    """What some jobs add up to; money in ten-thousandths of a USD."""

    jobs: int
    held: int
    paid: int


class Store:
    """The job table. Safe for use by several threads; each call is one transaction."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._base = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._base.row_factory = sqlite3.Row
        self._base.execute("PRAGMA journal_mode = WAL")
        # Enough to survive a killed process, which is what a sandbox has to survive.
        self._base.execute("PRAGMA synchronous = NORMAL")
        self._base.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file. Calling twice is harmless."""
        with self._lock:
            self._base.close()

    def add(self, job: Job) -> None:
        """Write a new job."""
        row = (
            job.number,
            job.id,
            json.dumps(job.body),
            job.origin,
            job.created,
            job.ready,
            job.held,
        )
        self._run(
            "INSERT INTO jobs (number, id, body, origin, created, ready, held) VALUES (?, ?, ?, ?, ?, ?, ?)",
            *row,
        )

    def find(self, job_id: str) -> Job | None:
        """Read one job by its id."""
        return next(iter(self._jobs("SELECT * FROM jobs WHERE id = ?", job_id)), None)

    def all(self) -> list[Job]:
        """Read every job, oldest first."""
        return self._jobs("SELECT * FROM jobs ORDER BY number")

    def open_ends(self) -> list[Job]:
        """Read the jobs that are not painted, or whose callback was not made, oldest first. Reads the whole table."""
        return [job for job in self.all() if job.ended is None or not job.called_back]

    def last_number(self) -> int:
        """Return the highest job number, 0 if there is none."""
        return int(self._run("SELECT COALESCE(MAX(number), 0) FROM jobs")[0][0])

    def end(self, number: int, ended: int, outcome: Outcome) -> None:
        """Write down how and when a job ends."""
        self._run(
            "UPDATE jobs SET ended = ?, file = ?, cost = ?, fail_code = ?, fail_msg = ? WHERE number = ?",
            *(ended, outcome.file, outcome.cost, outcome.fail_code, outcome.fail_msg, number),
        )

    def renew_link(self, job_id: str) -> None:
        """Make the next poll hand out another link, and the present one useless."""
        self._run("UPDATE jobs SET link = link + 1 WHERE id = ?", job_id)

    def mark_called_back(self, number: int) -> None:
        """Remember that the callback of a job was made."""
        self._run("UPDATE jobs SET called_back = 1 WHERE number = ?", number)

    def settle(self, now: int) -> Sums:
        """Mark the jobs that ended since the last call as counted, and return how many, what they held and cost."""
        rows = self._run(
            "UPDATE jobs SET settled = 1 WHERE settled = 0 AND ended <= ? RETURNING held, cost", now
        )
        return Sums(len(rows), held=sum(row[0] for row in rows), paid=sum(row[1] for row in rows))

    def sums(self) -> Sums:
        """Add up what counted jobs cost, and how many others there are and what they hold. Reads the whole table."""
        jobs, held, paid = self._run(
            "SELECT TOTAL(1 - settled), TOTAL((1 - settled) * held), TOTAL(settled * cost) FROM jobs"
        )[0]
        return Sums(int(jobs), int(held), int(paid))

    def count(self, now: int) -> dict[str, int]:
        """Count jobs by what became of them. Reads the whole table."""
        created, completed, failed = self._run(
            "SELECT COUNT(*), TOTAL(ended <= ?1 AND fail_code IS NULL), TOTAL(ended <= ?1 AND fail_code IS NOT NULL) "
            "FROM jobs",
            now,
        )[0]
        return {"created": created, "completed": int(completed), "failed": int(failed)}

    def _jobs(self, query: str, *values: object) -> list[Job]:
        return [
            Job(**{**row, "body": json.loads(row["body"])}) for row in self._run(query, *values)
        ]

    def _run(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._base.execute(query, values).fetchall()
