"""Run as a script of its own by ``limit``, with the number of threads in its environment: the machine's limits.

Arguments: the caller's sys.path and what to do, both as JSON. Uses NumPy alone.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Any

SIDE = 1536  # of the matrices: 9 MB each, enough for full speed, and about a second on a slow board
COPIED = 128 * 2**20  # bytes, more than any cache but a server's largest
SECONDS, LEAST = 1.0, 3


def main(asked: dict[str, Any]) -> None:
    """Print the speed of the fastest matrix product and of the fastest copy."""
    threads = int(asked["threads"])
    print(json.dumps({"macs_per_second": matrix_product(), "bytes_per_second": copy(threads)}))


def matrix_product() -> float:
    """Multiply-accumulates a second of float32 matrices, by the library behind NumPy."""
    import numpy as np

    a, b = np.random.default_rng(0).random((2, SIDE, SIDE), np.float32)
    out = np.empty_like(a)
    return SIDE**3 / best(lambda: np.matmul(a, b, out=out))


def copy(threads: int) -> float:
    """Bytes read and written a second in a copy that ``threads`` threads share."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    source = np.ones(COPIED // 4, np.float32)
    target = np.zeros_like(source)
    parts = list(zip(np.array_split(source, threads), np.array_split(target, threads), strict=True))
    with ThreadPoolExecutor(threads) as pool:  # NumPy lets other threads run while it copies
        return 2 * COPIED / best(lambda: list(pool.map(lambda part: np.copyto(part[1], part[0]), parts)))


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of several turns: other load can only add time."""
    taken: list[float] = []
    began = time.perf_counter()
    while len(taken) < LEAST or time.perf_counter() - began < SECONDS:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


if __name__ == "__main__":
    sys.path[:] = json.loads(sys.argv[1])
    main(json.loads(sys.argv[2]))
