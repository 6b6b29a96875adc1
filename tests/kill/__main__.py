"""Clips under attack.

- `python -m tests.kill N`: processes that are killed (see `torture.py`)
- `python -m tests.kill batch ROUNDS`: batches that are killed (see `batch.py`)
- `python -m tests.kill workers ROWS`: a batch over Prefect workers that are shot (see `workers.py`)
- `python -m tests.kill faults CLIPS`: every fault the sandbox plays (see `fault_matrix.py`)
"""

import sys

from tests.kill import batch, fault_matrix, torture, workers

if __name__ == "__main__":
    if sys.argv[1:2] == ["batch"]:
        sys.exit(batch.main(sys.argv[2:]))
    if sys.argv[1:2] == ["workers"]:
        sys.exit(workers.main(sys.argv[2:]))
    if sys.argv[1:2] == ["faults"]:
        sys.exit(fault_matrix.main(sys.argv[2:]))
    sys.exit(torture.main())
