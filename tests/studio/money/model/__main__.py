"""`python -m tests.studio.money.model N`: the same model for N examples (10,000)."""

import sys
import time

from tests.studio.money.model.test_ledger_model import explore

if __name__ == "__main__":
    examples = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    started = time.monotonic()
    explore(examples, 60)
    print(f"{examples} examples held in {time.monotonic() - started:.0f} s")
