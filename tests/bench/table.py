"""A table of many rows, and what Prefect shows of it: `python -m tests.bench.table [ROWS]`.

Renders are instant. What the server has is counted once it has settled: each clip has three task
runs, and each of these its events.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from tests.bench import contest

ROWS = 10_000
PAGE = 200


def shown(api: str) -> dict[str, Counter[str]]:
    """Count the task runs by state, the lines of the log by logger, and the events by name."""
    with httpx.Client(base_url=api, timeout=120) as http:
        runs = list(_pages(http, "/task_runs/filter", {"sort": "ID_DESC"}))
        lines = list(_pages(http, "/logs/filter", {"sort": "TIMESTAMP_ASC"}))
        events = list(_events(http))
    return {
        "task runs": Counter(run["state_name"] for run in runs),
        "lines in the log": Counter(line["name"] for line in lines),
        "events": Counter(event["event"] for event in events),
    }


def _pages(http: httpx.Client, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    offset = 0
    while True:
        page = http.post(path, json=body | {"limit": PAGE, "offset": offset}).json()
        yield from page
        if len(page) < PAGE:
            return
        offset += PAGE


def _events(http: httpx.Client) -> Iterator[dict[str, Any]]:
    page = http.post("/events/filter", json={"limit": 50}).json()
    while True:
        yield from page["events"]
        if not page["next_page"]:
            return
        page = http.get(page["next_page"]).json()


def main(rows: int) -> None:
    """Measure, and print."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        disk = Path(folder)
        servers = contest.start(stack, disk)
        match = contest.Match("ours", rows, contest.INSTANT)
        row = contest.measure(match, servers, disk)
        print(*contest.markdown(contest.HEADINGS, [row]), sep="\n")
        for name, counted in shown(servers.prefect_url).items():
            print(f"\n{name}: {counted.total():,}")
            for kind, count in counted.most_common():
                print(f"{count:8,}  {kind}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else ROWS)
