"""Figures of observed and synthetic paths."""

import math
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
from pmg_eval.report._panels import MOST, chosen, panels, same_span
from pmg_eval.report._path_plot import path_plot
from pmg_eval.report._paths import Paths, paths_text
from pmg_eval.report._sections_synth import paths_table
from pmg_eval.report._svg import inline
from unit.report import grown

Areas = Callable[[Sequence[Any], ScaleName], Estimate[None]]


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def frame_of(observed: dict[str, list[float]], synthetic: dict[str, list[float]], start: int = 2012) -> pd.DataFrame:
    rows = [
        {"unit": unit, "cohort": start, "period": 2010 + i, "observed": value, "synthetic": synthetic[unit][i]}
        for unit, values in observed.items()
        for i, value in enumerate(values)
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def two(areas: Areas) -> Paths:
    estimate = replace(areas(["b", "a"], "identity"), values=np.array([0.5, -0.5]))
    observed = {"b": [1.0, 2.0, 5.0, 6.0], "a": [3.0, 3.0, 1.0, 2.0]}
    synthetic = {"b": [2.0, 2.0, 4.0, 4.0], "a": [3.0, 3.0, 3.0, 3.0]}
    return Paths.of(frame_of(observed, synthetic), estimate, rate=False)


def test_paths_by_hand(two: Paths) -> None:
    assert [path.unit for path in two.paths] == ["a", "b"]  # by effect, not by name or order
    low, high = two.paths
    assert low.start == 2.0
    assert low.mean("gap", after=True) == -1.5
    assert low.mean("gap", after=False) == 0.0
    assert high.mean("gap", after=True) == 1.5
    assert high.misfit == pytest.approx(math.sqrt(0.5))
    assert paths_table(two).rows[0] == ["a", "2012", "0.00", "1.50", "3.00", "−1.50"]
    said = paths_text(two)
    assert "in 1 of 2 areas" in said
    assert "from −1.50 (a) to 1.50 (b)" in said


def test_the_start_is_placed_by_label_and_may_lie_outside(areas: Areas) -> None:
    estimate = areas(["a"], "identity")
    path = {"a": [1.0, 2.0, 3.0]}
    for start, place in ((2011, 1.0), (2099, 3.0), (1990, 0.0)):
        assert Paths.of(frame_of(path, path, start), estimate, rate=False).paths[0].start == place
    quarters = frame_of(path, path).assign(
        period=pd.period_range("2010Q1", periods=3, freq="Q"), cohort=pd.Period("2010Q2", freq="Q")
    )
    found = Paths.of(quarters, estimate, rate=False)
    assert found.periods == ["2010Q1", "2010Q2", "2010Q3"]
    assert found.paths[0].start == 1.0
    shuffled = Paths.of(quarters.iloc[::-1], estimate, rate=False)
    np.testing.assert_array_equal(shuffled.paths[0].observed, [1.0, 2.0, 3.0])


def test_days_are_written_without_midnight(areas: Areas) -> None:
    path = {"a": [1.0, 2.0]}
    days = frame_of(path, path).assign(period=pd.to_datetime(["2010-01-01", "2010-02-01"]))
    found = Paths.of(days.assign(cohort=pd.Timestamp("2010-02-01")), areas(["a"], "identity"), rate=False)
    assert found.periods == ["2010-01-01", "2010-02-01"]


@pytest.mark.parametrize(("width", "columns"), [(style.WIDE, 4), (style.NARROW, 2), (1000, 5)])
def test_one_small_chart_per_area_in_the_order_of_effects(areas: Areas, width: float, columns: int) -> None:
    estimate = areas(grown.NAMES, "log")
    content = Paths.of(grown.paths(grown.NAMES, estimate, "log"), estimate, rate=True)
    figure = panels(content, width=width)
    shown = [t for t in figure.findobj(mpl.text.Text) if t.get_text() in grown.NAMES]
    assert [t.get_text() for t in shown] == [grown.NAMES[i] for i in np.argsort(estimate.values, kind="stable")]
    assert all(t.get_weight() == "bold" for t in shown)
    assert len({round(t.get_position()[0]) for t in shown}) == columns
    assert len(figure.axes) == 1
    assert min(t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text()) >= 12
    starts = [line for line in figure.axes[0].lines if line.get_color() == style.START.color and is_upright(line)]
    assert len(starts) == 27
    assert {"observed", "synthetic path", "start of the programme"} <= set(texts(figure))


def is_upright(line: Any) -> bool:
    x = line.get_xdata()
    return len(x) == 2 and x[0] == x[1]


def test_nothing_is_drawn_outside_the_figure(areas: Areas) -> None:
    estimate = areas(grown.NAMES, "log")
    content = Paths.of(grown.paths(grown.NAMES, estimate, "log"), estimate, rate=True)
    for width in (style.WIDE, style.NARROW):
        figure = panels(content, width=width)
        height = figure.get_figheight() * 72
        for line in figure.axes[0].lines:
            x, y = np.asarray(line.get_xdata(), dtype=float), np.asarray(line.get_ydata(), dtype=float)
            assert np.nanmin(x) >= 0
            assert np.nanmax(x) <= width
            assert np.nanmin(y) >= 0
            assert np.nanmax(y) <= height
        figure.canvas.draw()
        for text in figure.findobj(mpl.text.Text):
            if text.get_text():
                box = text.get_window_extent()
                assert box.x0 >= -1
                assert box.x1 <= width * 2 + 1  # 144 dots per inch


def test_equal_gaps_look_equal_unless_ranges_differ_too_much(two: Paths) -> None:
    assert same_span(two)
    wild = replace(two.paths[0], unit="wild", observed=np.array([0.0, 900.0, 1.0, 2.0]))
    assert not same_span(replace(two, paths=[*two.paths, wild]))
    figure = panels(two)
    heights = {}
    for line in figure.axes[0].lines:
        y = np.asarray(line.get_ydata(), dtype=float)
        if len(y) == 4:  # paths
            heights.setdefault(line.get_color(), []).append(y)
    gaps = [o - s for o, s in zip(heights[style.OBSERVED.color], heights[style.SYNTHETIC.color], strict=True)]
    units = [gap[2:] / path.gap[2:] for gap, path in zip(gaps, two.paths, strict=True)]
    np.testing.assert_allclose(np.concatenate(units), units[0][0])


def test_of_very_many_areas_both_ends_are_drawn(areas: Areas) -> None:
    names = [f"n{i:03d}" for i in range(MOST + 9)]
    estimate = areas(names, "identity")
    content = Paths.of(grown.paths(names, estimate, "identity"), estimate, rate=False)
    assert chosen(content)[0].unit == names[int(np.argmin(estimate.values))]
    assert chosen(content)[-1].unit == names[int(np.argmax(estimate.values))]
    assert len(chosen(content)) == MOST


@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_one_area_large_with_its_gap(two: Paths, width: float) -> None:
    figure = path_plot(replace(two, paths=two.paths[:1]), width=width)
    above, below = figure.axes
    lines = {line.get_color(): line for line in above.lines}
    np.testing.assert_array_equal(lines[style.OBSERVED.color].get_ydata(), [3.0, 3.0, 1.0, 2.0])
    np.testing.assert_array_equal(lines[style.SYNTHETIC.color].get_ydata(), [3.0] * 4)
    assert lines[style.SYNTHETIC.color].is_dashed()
    assert not lines[style.OBSERVED.color].is_dashed()
    for axes in (above, below):
        assert [line.get_xdata()[0] for line in axes.lines if is_upright(line)] == [1.5]
    gap = next(line for line in below.lines if len(line.get_xdata()) == 4)
    np.testing.assert_array_equal(gap.get_ydata(), [0.0, 0.0, -2.0, -1.0])
    assert {"2012", "Gap: observed minus synthetic", "Outcome"} <= set(texts(figure))
    named = path_plot(replace(two, paths=two.paths[:1], outcome="prisoners"), width=width)
    assert "Prisoners" in texts(named)
    assert "Outcome" not in texts(named)
    rates = path_plot(replace(two, paths=two.paths[:1], outcome="suspects", rate=True), width=width)
    assert "Suspects per 1,000" in texts(rates)
    long = path_plot(replace(two, paths=two.paths[:1], outcome="x" * 500), width=width)
    assert max(map(len, texts(long))) < 120
    assert min(t.get_fontsize() for t in figure.findobj(mpl.text.Text) if t.get_text()) >= 12


@pytest.mark.parametrize("values", [[math.nan] * 4, [5.0] * 4, [0.0] * 4, [1e-9, 1e9, -1e9, 0.0]])
def test_hard_values_are_drawn(areas: Areas, values: list[float]) -> None:
    for names in (["a"], ["a", "b"]):
        given = dict.fromkeys(names, values)
        content = Paths.of(frame_of(given, dict.fromkeys(names, values[::-1])), areas(names, "identity"), rate=True)
        for width in (style.WIDE, style.NARROW):
            figure = path_plot(content, width=width) if len(names) == 1 else panels(content, width=width)
            assert "<svg" in inline(figure, "f", "title", paths_text(content))
        assert paths_table(content).rows


def test_hostile_names_are_text_and_are_cut(areas: Areas, payloads: tuple[str, ...]) -> None:
    estimate = areas(payloads, "log")
    content = Paths.of(grown.paths(payloads, estimate, "log"), estimate, rate=True)
    assert len(content) == len(payloads)
    for width in (style.WIDE, style.NARROW):
        figure = panels(content, width=width)
        inline(figure, "f", "title", paths_text(content))
        assert max(len(text) for text in texts(figure)) < 40


def test_an_area_without_an_effect_comes_last(areas: Areas) -> None:
    estimate = replace(areas(["x", "y"], "identity"), values=np.array([np.nan, 3.0]))
    path = {"x": [1.0, 2.0], "y": [1.0, 2.0], "z": [1.0, 2.0]}
    content = Paths.of(frame_of(path, path), estimate, rate=False)
    assert [(p.unit, p.effect) for p in content.paths] == [("y", "3.00"), ("x", ""), ("z", "")]
