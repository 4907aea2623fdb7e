"""Step curves of persons with an event, and forest plots of several estimators."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from pmg_eval.estimate import Estimate
from pmg_eval.estimate.scales import ScaleName
from pmg_eval.report import _style as style
from pmg_eval.report._axis import EffectAxis
from pmg_eval.report._beside import Beside, beside, beside_text
from pmg_eval.report._curves import _apart, curves
from pmg_eval.report._forest import forest
from pmg_eval.report._incidence import MOST, incidence_text, incidences
from pmg_eval.report._svg import inline
from unit.report import grown

Areas = Callable[[Sequence[Any], ScaleName], Estimate[None]]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def small() -> Estimate[Any]:
    """Two groups of four and of five persons, by hand."""
    rows = [
        *[("a", 10, 0.25, 4), ("a", 40, 0.5, 3)],
        *[("b", 5, 0.2, 5), ("b", 40, 0.6, 3), ("b", 60, 0.8, 1)],
    ]
    frame = pd.DataFrame(rows, columns=["group", "time", "estimate", "n_at_risk"])
    frame = frame.assign(cause="new", std_error=0.1, n_events=1)
    frame = frame.assign(conf_low=frame["estimate"] - 0.1, conf_high=frame["estimate"] + 0.1)
    made = grown.recidivism(["a", "b"])
    return replace(made, details=grown.Curves(frame))


# --- curves ----------------------------------------------------------------------------------------------------------


def test_persons_at_risk_by_hand() -> None:
    (content,) = incidences(small())
    one, other = content.curves
    assert [one.at_risk_from(t) for t in (0, 10, 11, 40)] == [4, 4, 3, 3]
    assert np.isnan(one.at_risk_from(41))
    assert other.at_risk_from(6) == 3
    assert content.cause == ""
    assert content.last == 60


def test_persons_at_risk_do_not_depend_on_the_kind_of_event() -> None:
    frame = pd.DataFrame({"group": "a", "cause": ["x", "y", "x"], "time": [10, 20, 30], "n_at_risk": [9, 7, 4]})
    frame = frame.assign(estimate=[0.1, 0.1, 0.3], conf_low=0.0, conf_high=0.5)
    one, other = incidences(replace(small(), details=grown.Curves(frame)))
    assert (one.cause, other.cause) == ("x", "y")
    for content in (one, other):
        assert [content.curves[0].at_risk_from(t) for t in (0, 15, 25)] == [9, 7, 4]
    assert other.curves[0].time.tolist() == [20]


@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_steps_bands_and_numbers(width: float) -> None:
    (content,) = incidences(small())
    figure = curves(content, width=width)
    (axes,) = figure.axes
    drawn = [line for line in axes.lines if line.get_drawstyle() == "steps-post"]
    np.testing.assert_allclose(drawn[0].get_xdata()[:3], [0, 10, 40])
    np.testing.assert_allclose(drawn[0].get_ydata(), [0, 0.25, 0.5, 0.5])
    np.testing.assert_allclose(drawn[1].get_ydata(), [0, 0.2, 0.6, 0.8, 0.8])
    assert len(axes.collections) == 2  # one band each
    assert len({(line.get_color(), line.is_dashed()) for line in drawn}) == 2
    assert drawn[1].is_dashed()
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] >= 0.9
    found = texts(figure)
    assert {"a", "b", "4", "5"} <= set(found)
    if width == style.WIDE:
        assert {"a 50.0 %", "b 80.0 %"} <= set(found)
    assert min(t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text()) >= 12


def test_two_years_of_days_are_told_in_months() -> None:
    (content,) = incidences(grown.recidivism(["a"], events=730))
    ticks, labels, name = content.ticks(8)
    assert labels == ["0", "3", "6", "9", "12", "15", "18", "21", "24"]
    assert ticks[[4, 8]].tolist() == [365, 730]
    assert name == "Months since the start of follow-up"
    (other,) = incidences(
        replace(
            grown.recidivism(["a"]),
            provenance=replace(grown.recidivism(["a"]).provenance, options={"time_unit": "weeks"}),
        )
    )
    assert other.ticks(8)[2] == "Weeks since the start of follow-up"


def test_a_curve_of_every_day_is_thinned_to_what_can_be_seen() -> None:
    (content,) = incidences(grown.recidivism(["a"], events=730))
    curve = content.curves[0]
    thin = curve.thinned(5.0)
    assert 140 < len(thin.time) < 160
    assert thin.share[-1] == curve.share[-1]
    where = np.searchsorted(curve.time, thin.time)
    np.testing.assert_array_equal(curve.share[where], thin.share)
    assert len(inline(curves(content), "f", "t", "d")) < 50_000


def test_labels_are_moved_apart_and_stay_inside() -> None:
    placed = _apart([10.0, 12.0, 13.0, 295.0, 299.0], 300.0)
    assert (np.diff(placed) >= 17.0 - 1e-9).all()
    assert max(placed) <= 300.0
    assert placed[0] == 10.0
    assert _apart([], 300.0) == []


def test_more_groups_than_lines_are_said_to_be_left_out() -> None:
    estimate = grown.recidivism([f"g{i}" for i in range(MOST + 2)], events=30)
    (content,) = incidences(estimate)
    assert len(content.curves) == MOST
    assert "2 further groups not drawn" in incidence_text(content, estimate)
    assert len({(c.stroke.color, c.stroke.dashes) for c in content.curves}) == MOST
    assert len({c.stroke.dashes for c in content.curves}) == MOST  # not color alone


def test_curves_in_words_say_the_last_horizon() -> None:
    estimate = grown.recidivism(["a", "b"])
    (content,) = incidences(estimate)
    said = incidence_text(content, estimate)
    frame = estimate.to_frame()
    last = frame.loc[frame["group"] == "a"].iloc[-1]
    assert f"a: {100 * last['estimate']:.1f}\u00a0% after 730\u00a0days (95 % interval" in said


@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_hostile_groups_and_hard_curves(payloads: tuple[str, ...], width: float) -> None:
    estimate = grown.recidivism(payloads[:MOST], causes=["$x^$ <i>"], events=20)
    (content,) = incidences(estimate)
    figure = curves(content, width=width, title="$x^$")
    assert "<svg" in inline(figure, "f", "t", incidence_text(content, estimate))
    gone = estimate.details.curves.assign(estimate=np.nan, conf_low=np.nan, conf_high=np.nan)
    (content,) = incidences(replace(estimate, details=grown.Curves(gone)))
    assert "<svg" in inline(curves(content, width=width), "f", "t", incidence_text(content, estimate))


def test_no_curves_no_figure() -> None:
    estimate = grown.recidivism(["a"])
    assert incidences(replace(estimate, details=None)) == []
    assert incidences(replace(estimate, details=grown.Curves(pd.DataFrame()))) == []


# --- several estimators ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["identity", "log"])
@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_estimators_side_by_side(areas: Areas, scale: ScaleName, width: float) -> None:
    estimate = areas(["p", "q", "r"], scale)
    content = Beside.of_areas(grown.area_agreement(estimate), scale)
    figure = beside(content, width=width)
    found = texts(figure)
    assert {"Imputation", "Group-time", "Synthetic difference-in-differences", "not estimated"} <= set(found)
    order = [text for text in found if text in ("p", "q", "r")]
    assert order == [("p", "q", "r")[i] for i in np.argsort(estimate.values, kind="stable")]
    points = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "s", "^")]
    assert len(points) == 8  # nine minus the one that is not estimated
    by_shape = {
        shape: {p.get_markeredgecolor() for p in points if p.get_marker() == shape} for shape in ("o", "s", "^")
    }
    assert all(len(colors) == 1 for colors in by_shape.values())
    drawn = sorted(float(p.get_xdata()[0]) for p in points if p.get_marker() == "o")
    np.testing.assert_allclose(drawn, np.sort(estimate.values))
    assert "<svg" in inline(figure, "f", "t", beside_text(content, "area"))


def test_waves_start_with_all_of_them() -> None:
    content = Beside.of_waves(grown.wave_agreement("log").iloc[::-1], "log")
    assert content.names[0] == "All waves"
    assert beside_text(content, "row").startswith("Forest plot of 4 rows with")


def test_very_many_areas_are_cut(areas: Areas) -> None:
    content = Beside.of_areas(grown.area_agreement(areas([f"n{i}" for i in range(130)], "log")), "log")
    assert "10 further rows are not drawn" in " ".join(texts(beside(content)))


# --- truth in a forest plot ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_truth_has_a_mark_of_its_own_on_the_row_of_its_area(areas: Areas, width: float) -> None:
    estimate = areas(["p", "q", "r"], "log")
    truth = np.array([0.8, np.nan, 1.3])
    figure = forest(estimate, width=width, truth=truth)
    marks = [line for line in figure.axes[0].lines if line.get_marker() == "|"]
    rows = np.argsort(estimate.values, kind="stable")
    expected = [truth[i] for i in rows if np.isfinite(truth[i])]
    assert [float(mark.get_xdata()[0]) for mark in marks] == expected
    points = {
        float(line.get_xdata()[0]): float(line.get_ydata()[0])
        for line in figure.axes[0].lines
        if len(line.get_xdata()) == 1
    }
    for unit in (0, 2):
        assert points[truth[unit]] == points[float(estimate.values[unit])]
    assert "true effect (simulated data)" in texts(figure)
    assert style.TRUTH.shape not in {
        mark.shape for mark in (style.BELOW, style.ABOVE, style.INCLUDES, style.NO_INTERVAL)
    }


def test_without_truth_there_is_no_mark_for_it(areas: Areas) -> None:
    for truth in (None, np.full(2, np.nan)):
        assert "true effect (simulated data)" not in texts(forest(areas(["p", "q"], "log"), truth=truth))


def test_the_axis_has_room_for_the_truth() -> None:
    frame = pd.DataFrame(
        {"estimate": [1.0, 1.0], "conf_low": [0.9, 0.9], "conf_high": [1.1, 1.1], "truth": [1.3, np.nan]}
    )
    assert EffectAxis.of(frame, "log").high > 1.3
