"""`make soak MINUTES=60`: batch after batch in one process while the API misbehaves."""

import argparse
import asyncio
from pathlib import Path

from tests.soak.soak import soak

if __name__ == "__main__":
    parser = argparse.ArgumentParser("python -m tests.soak")
    parser.add_argument("minutes", type=float, nargs="?", default=60.0)
    parser.add_argument("--table", type=Path, help="where to write the table as Markdown")
    given = parser.parse_args()
    report = asyncio.run(soak(given.minutes * 60))
    print(report)
    if given.table is not None:
        given.table.write_text(str(report))
    raise SystemExit(not report.is_flat or bool(report.paid_twice or report.lost))
