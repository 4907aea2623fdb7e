import numpy as np
import pytest

from pmg_eval.numerics.signs import CELLS, random_signs


@pytest.mark.parametrize(("rows", "width"), [(1, 1), (7, 3), (3, CELLS), (5, CELLS // 2 - 3), (2, CELLS + 9)])
def test_shapes(rows: int, width: int) -> None:
    blocks = list(random_signs(np.random.default_rng(0), rows, width))
    assert sum(len(block) for block in blocks) == rows
    assert all(block.shape[1] == width for block in blocks)
    assert all(block.size <= max(CELLS, width) for block in blocks)
    assert set(np.unique(np.concatenate(blocks))) <= {-1.0, 1.0}


def test_signs_are_fair_and_independent() -> None:
    drawn = np.concatenate(list(random_signs(np.random.default_rng(1), 40_000, 9)))
    assert abs(drawn.mean()) < 4 / np.sqrt(drawn.size)
    assert np.abs(np.corrcoef(drawn, rowvar=False) - np.eye(9)).max() < 4.5 / np.sqrt(40_000)
    assert abs((drawn[1:] * drawn[:-1]).mean()) < 4 / np.sqrt(drawn.size)


def test_same_seed_same_bits() -> None:
    one, other = (np.concatenate(list(random_signs(np.random.default_rng(4), 100, 33))) for _ in range(2))
    assert (one == other).all()
