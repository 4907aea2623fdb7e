"""Random signs, fast and in blocks that stay in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CELLS = 1 << 17  # numbers in one block


def random_signs(generator: np.random.Generator, rows: int, width: int) -> Iterator[Array]:
    """Blocks (r, width) of independent +1 and -1 with equal probability, ``rows`` rows in all; one random bit each.

    Parameters
    ----------
    generator : Generator
    rows, width : int
        Rows in all, and columns of every block.

    Examples
    --------
    >>> blocks = list(random_signs(np.random.default_rng(0), 3, 4))
    >>> [block.shape for block in blocks]
    [(3, 4)]
    """
    step = max(1, CELLS // max(width, 1))
    for start in range(0, rows, step):
        shape = (min(step, rows - start), width)
        cells = shape[0] * width
        bits = np.frombuffer(generator.bytes(-(-cells // 8)), dtype=np.uint8)
        yield np.asarray(np.unpackbits(bits, count=cells).reshape(shape) * 2.0 - 1.0, dtype=np.float64)
