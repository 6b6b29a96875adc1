"""The jobs of a sandbox on disk: one SQLite table."""

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

    `ended` is set as soon as the clip is rendered, and may lie in the future. Nothing has to happen
    at that time: `state` returns another word from then on.
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
        """Return the state at a time, in the API's words.

        A job is pending for the first fifth of its render time.
        """
        if self.ended is not None and now >= self.ended:
            if self.fail_code:
                return "failed"
            return "completed"
        if now < self.created + (self.ready - self.created) / 5:
            return "pending"
        return "processing"

    @property
    def model(self) -> str:
        """The model as answers name it."""
        return f"kling-video/{self.body['model']}"


@dataclass(frozen=True)
class Outcome:
    """How rendering a job ended: with a file and its price, or with a fail code."""

    file: str | None = None
    cost: int = 0
    fail_code: str | None = None
    fail_msg: str | None = None


@dataclass(frozen=True)
class Totals:
    """The number of some jobs and their money in ten-thousandths of a USD."""

    jobs: int
    frozen: int
    paid: int


class JobStore:
    """The job table. Safe for use by several threads; each call is one transaction."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode = WAL")
        # Enough to survive a killed process; a sandbox need not survive a power failure.
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file. Calling twice is harmless."""
        with self._lock:
            self._connection.close()

    def add(self, job: Job) -> None:
        """Write a new job."""
        self._run(
            "INSERT INTO jobs (number, id, body, origin, created, ready, held)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            job.number,
            job.id,
            json.dumps(job.body),
            job.origin,
            job.created,
            job.ready,
            job.held,
        )

    def find(self, job_id: str) -> Job | None:
        """Read one job by its id."""
        found = self._jobs("SELECT * FROM jobs WHERE id = ?", job_id)
        return found[0] if found else None

    def all(self) -> list[Job]:
        """Read every job, oldest first."""
        return self._jobs("SELECT * FROM jobs ORDER BY number")

    def unfinished(self) -> list[Job]:
        """Read the jobs that are not rendered, or whose callback was not sent, oldest first.

        Reads the whole table.
        """
        return [job for job in self.all() if job.ended is None or not job.called_back]

    def last_number(self) -> int:
        """Return the highest job number, 0 if there is none."""
        return int(self._run("SELECT COALESCE(MAX(number), 0) FROM jobs")[0][0])

    def end(self, number: int, ended: int, outcome: Outcome) -> None:
        """Write how and when a job ends."""
        self._run(
            "UPDATE jobs SET ended = ?, file = ?, cost = ?, fail_code = ?, fail_msg = ?"
            " WHERE number = ?",
            ended,
            outcome.file,
            outcome.cost,
            outcome.fail_code,
            outcome.fail_msg,
            number,
        )

    def renew_link(self, job_id: str) -> None:
        """Make the present link useless; the next poll gives another."""
        self._run("UPDATE jobs SET link = link + 1 WHERE id = ?", job_id)

    def mark_called_back(self, number: int) -> None:
        """Write that the callback of a job was sent."""
        self._run("UPDATE jobs SET called_back = 1 WHERE number = ?", number)

    def settle(self, now: int) -> Totals:
        """Mark the jobs that ended since the last call as settled, and return their totals."""
        rows = self._run(
            "UPDATE jobs SET settled = 1 WHERE settled = 0 AND ended <= ? RETURNING held, cost", now
        )
        frozen = sum(row["held"] for row in rows)
        paid = sum(row["cost"] for row in rows)
        return Totals(len(rows), frozen, paid)

    def totals(self) -> Totals:
        """Return the number and frozen money of jobs not settled, and what the settled ones cost.

        Reads the whole table.
        """
        jobs, frozen, paid = self._run(
            "SELECT TOTAL(1 - settled), TOTAL((1 - settled) * held), TOTAL(settled * cost)"
            " FROM jobs"
        )[0]
        return Totals(int(jobs), int(frozen), int(paid))

    def frozen_since(self, created: int) -> int:
        """Return the frozen money of jobs not settled that were created after a time."""
        return int(
            self._run(
                "SELECT TOTAL(held) FROM jobs WHERE settled = 0 AND created > ?",
                created,
            )[0][0]
        )

    def count(self, now: int) -> dict[str, int]:
        """Count jobs by outcome. Reads the whole table."""
        created, completed, failed = self._run(
            "SELECT COUNT(*), TOTAL(is_over AND fail_code IS NULL),"
            " TOTAL(is_over AND fail_code IS NOT NULL)"
            " FROM (SELECT fail_code, ended <= ? AS is_over FROM jobs)",
            now,
        )[0]
        return {"created": created, "completed": int(completed), "failed": int(failed)}

    def _jobs(self, query: str, *values: object) -> list[Job]:
        jobs = []
        for row in self._run(query, *values):
            columns = dict(row)
            columns["body"] = json.loads(columns["body"])
            jobs.append(Job(**columns))
        return jobs

    def _run(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()
