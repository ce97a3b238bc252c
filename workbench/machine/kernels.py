"""What the calibration runs in a process of its own: reading memory, multiplying matrices.

Started as a script by `calibrate` with one JSON argument, answers with one JSON object on standard output, and
imports nothing of the workbench: the number of threads a linear algebra library uses is settled by environment
variables before it is loaded, and numpy stays out of the caller.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

_LONGEST_PRODUCT_S = 0.05  # so that a few hundred milliseconds hold many samples


def sample(work: Callable[[], float], seconds: float, least: int = 3, most: int = 15) -> list[float]:
    """Repeat `work`, which returns a rate, for about `seconds`, after one run that does not count."""
    work()
    deadline = time.perf_counter() + seconds
    rates: list[float] = []
    while len(rates) < least or (time.perf_counter() < deadline and len(rates) < most):
        rates.append(work())
    return rates


def bandwidth(array_bytes: int, threads: int, seconds: float) -> dict[str, list[float]]:
    """Rates (B/s) at which one thread and all threads read an array of float32 far larger than the caches.

    Each thread makes its own part, so that on computers with several memory nodes a part lies near its thread.
    A dot product of the part with itself reads every byte once and does little else; it releases the GIL.
    """
    count = array_bytes // 4 // threads
    with ThreadPoolExecutor(threads) as pool:
        parts = list(pool.map(lambda _: np.ones(count, np.float32), range(threads)))
        total = sum(part.nbytes for part in parts)

        def one() -> float:
            begin = time.perf_counter()
            for part in parts:
                np.dot(part, part)
            return total / (time.perf_counter() - begin)

        def together() -> float:
            begin = time.perf_counter()
            list(pool.map(lambda part: np.dot(part, part), parts))
            return total / (time.perf_counter() - begin)

        return {"one": sample(one, seconds), "all": sample(together, seconds)}


def matrix(seconds: float, sizes: list[int], expected_rate: float | None = None) -> dict[str, Any]:
    """Rates (FLOP/s) of float32 products of square matrices, 2n³ operations each, and the size n they had.

    The size is the first of `sizes`, which fall, that a product at `expected_rate` does quickly. Without that rate
    a try with the last size gives it: good enough for one thread, while several on a busy computer wait for each other.
    """
    guess = expected_rate or max(product(sizes[-1])() for _ in range(3))
    size = next((n for n in sizes if 2 * n**3 / guess < _LONGEST_PRODUCT_S), sizes[-1])
    return {"rates": sample(product(size), seconds), "size": size}


def product(size: int) -> Callable[[], float]:
    """A function that multiplies two matrices of `size` × `size` and returns its rate in FLOP/s."""
    left, right = (np.full((size, size), value, np.float32) for value in (0.5, 2.0))
    result = np.empty_like(left)

    def run() -> float:
        begin = time.perf_counter()
        np.matmul(left, right, out=result)
        return 2 * size**3 / (time.perf_counter() - begin)

    return run


def versions() -> dict[str, str]:
    """numpy's version and the linear algebra library it was built with."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {"numpy": np.__version__, "blas": f"{blas.get('name', '?')} {blas.get('version', '')}".strip()}


def main(order: dict[str, Any]) -> dict[str, Any]:
    """Run what is ordered: `bandwidth` (array_bytes, threads, seconds) and `matrix` (seconds, sizes, expected_rate)."""
    answer: dict[str, Any] = {"versions": versions()}
    if "bandwidth" in order:
        answer["bandwidth"] = bandwidth(**order["bandwidth"])
    answer["matrix"] = matrix(**order["matrix"])
    return answer


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
