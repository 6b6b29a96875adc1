"""`python -m tests.kill N` (see `torture.py`) and `python -m tests.kill batch ROUNDS` (see `batch.py`)."""

import sys

from tests.kill import batch, torture

if __name__ == "__main__":
    if sys.argv[1:2] == ["batch"]:
        sys.exit(batch.main(sys.argv[2:]))
    sys.exit(torture.main())
