"""Walk through the Prefect UI and take pictures: `python -m tests.by_hand FOLDER [v1|v2]`. Free."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from tests.browser import Version
from tests.by_hand.story import make_film, pick_takes, set_up

target, version = Path(sys.argv[1]), cast("Version", sys.argv[2] if len(sys.argv) > 2 else "v2")
target.mkdir(parents=True, exist_ok=True)
with (
    TemporaryDirectory(ignore_cleanup_errors=True) as disk,
    set_up(Path(disk), short_side=720) as site,
):
    print(asyncio.run(make_film(site, version, target)))
    print(asyncio.run(pick_takes(site, version, target)))
