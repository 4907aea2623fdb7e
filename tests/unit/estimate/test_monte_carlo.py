"""Monte-Carlo errors: what they say is how far the numbers move from one set of draws to another."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from pmg_eval.errors import DataError, InferenceError
from pmg_eval.estimate import Draws, Estimate, make_terms
from pmg_eval.estimate.carriers import quantile_error
from unit.estimate.made import by_covariance, by_influence


def drawn(seed: int, count: int, value: float = 1.2, scale: str = "identity") -> Estimate[None]:
    errors = np.random.default_rng(seed).standard_t(8, size=(count, 2)) * [1.0, 0.2]
    values = np.array([value, 1.5])
    return Estimate(values, make_terms({"cohort": [1, 2]}, 2), Draws(errors, np.full(2, 1 / (count + 1))), scale=scale)


@pytest.mark.parametrize(("scale", "level"), [("identity", 0.95), ("log", 0.8)])
def test_errors_are_the_spread_over_seeds(level: float, scale: str) -> None:
    """200 laws of 499 draws; the spread is known to 5 %."""
    estimates = [drawn(seed, 499, scale=scale) for seed in range(200)]
    frames = [estimate.to_frame(level) for estimate in estimates]
    reported = [estimate.monte_carlo(level) for estimate in estimates]
    for name in ("std_error", "p_value", "conf_low", "conf_high"):
        moved = np.std([frame[name] for frame in frames], axis=0)
        said = np.mean([table[f"{name}_error"] for table in reported], axis=0)
        real = moved > (0.003 if name == "p_value" else 0)  # a p that is nearly always the smallest does not move
        assert_allclose(said[real], moved[real], rtol=0.2)
        assert real.any()
    assert reported[0].columns.tolist()[0] == "cohort"


def test_by_hand() -> None:
    """Errors 1 ... 99: p of 80.5 is 20/100; the 80th is the 80 % half width, 76 and 84 one standard error around."""
    errors = np.arange(1.0, 100.0)[:, None]
    law = Draws(errors, np.array([0.01]))
    found = law.monte_carlo(0.8, np.array([80.5]))
    assert found.p_value[0] == pytest.approx(np.sqrt(0.2 * 0.8 / 99))
    reach = np.sqrt(99 * 0.8 * 0.2)  # 3.98
    assert found.half_width[0] == pytest.approx((84 - 76) * reach / 8)
    moments = ((errors - 50) ** 2).mean(), ((errors - 50) ** 4).mean()
    assert found.std_error[0] == pytest.approx(np.sqrt((moments[1] - moments[0] ** 2) / 99 / moments[0]) / 2)
    assert np.isnan(law.monte_carlo(0.995, np.array([80.5])).half_width[0])  # not attainable
    assert np.isnan(quantile_error(np.ones((1, 1)), 0.5)[0])


def test_rows_without_a_law_are_silent_and_no_draws_no_error() -> None:
    errors = np.random.default_rng(0).normal(size=(99, 3))
    errors[:, 1] = np.nan
    errors[:, 2] = 0.0
    terms = make_terms({"status": ["", "lost", "reference"]}, 3)
    found = Estimate(np.array([1.0, 1.0, 0.0]), terms, Draws(errors, np.full(3, 0.01))).monte_carlo(0.9)
    assert found.notna().all(axis=1).tolist() == [True, False, False]
    assert found.isna().all(axis=1).tolist() == [False, True, True]
    for other in (by_covariance([1.0], [1.0]), by_influence([1.0], {"cohort": [1]})):
        with pytest.raises(InferenceError) as caught:
            other.monte_carlo()
        assert caught.value.code == "PMG-NO-DRAWS"
    with pytest.raises(DataError):
        drawn(0, 99).monte_carlo(95)


def test_a_missing_draw_is_no_p_value() -> None:
    errors = np.random.default_rng(0).normal(size=(99, 2))
    errors[:, 1] = np.nan
    frame = Estimate(np.ones(2), make_terms({"cohort": [1, 2]}, 2), Draws(errors, np.full(2, 0.01))).to_frame()
    assert frame["p_value"].notna().tolist() == [True, False]


@pytest.mark.parametrize("method", ["gaussian", "multiplier", "draws"])
def test_critical_values_of_bands(method: str) -> None:
    """Over 60 seeds the band moves as much as it says, in units of the standard error that is true."""
    values, psi = [0.5, 0.2, -0.1], np.random.default_rng(1).normal(size=(40, 3))

    def band(seed: int) -> pd.DataFrame:
        if method == "draws":
            errors = np.random.default_rng(seed).normal(size=(999, 3))
            law = Draws(errors, np.full(3, 0.001))
            return Estimate(np.array(values), make_terms({"cohort": [1, 2, 3]}, 3), law).band(0.9)
        estimate = by_influence(values, {"cohort": [1, 2, 3]}, psi)
        return estimate.band(0.9, rng=seed, draws=999, method=method)

    found = [band(seed) for seed in range(60)]
    true = 1.0 if method == "draws" else found[0]["std_error"][0]
    moved = np.std([(frame["conf_high"] - frame["estimate"])[0] / true for frame in found])
    said = np.mean([frame.attrs["critical_value_error"] for frame in found])
    assert said == pytest.approx(moved, rel=0.4)
    assert 0.005 < said < 0.1
