"""`python -m tests.kill N`: see `torture.py`."""

import sys

from tests.kill.torture import main

if __name__ == "__main__":
    sys.exit(main())
