import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pmg_eval.errors import DataError
from pmg_eval.estimate import Estimate, make_terms
from pmg_eval.estimate.guard import ONE_TREATED
from pmg_eval.estimate.scales import ScaleName
from pmg_eval.report import _style as style
from pmg_eval.report._axis import EffectAxis
from pmg_eval.report._event_study import event_study, event_study_text, study
from pmg_eval.report._forest import forest, forest_text, verdicts
from pmg_eval.report._like import measured
from pmg_eval.report._svg import inline
from pmg_eval.report.display import plot

Effects = Callable[[ScaleName], Estimate[None]]
Areas = Callable[[Sequence[Any], ScaleName], Estimate[None]]


def words(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_text()]


def height(figure: Any) -> float:
    return float(figure.get_figheight() * 72)


# --- event study -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["identity", "log"])
@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_event_study(effects: Effects, scale: ScaleName, width: float) -> None:
    part = effects(scale).where(group="event_time")
    figure = event_study(part, part.band(rng=0, draws=999), width=width)
    found = words(figure)
    assert {"before the start", "after the start", "reference period", "95\u00a0% for all periods at once"} <= set(
        found
    )
    assert "27" in found  # treated areas under the axis
    assert figure.axes[0].get_yscale() == ("log" if scale == "log" else "linear")
    assert not figure.axes[0].spines["top"].get_visible()
    assert not figure.axes[0].spines["right"].get_visible()
    assert min(text.get_fontsize() for text in figure.findobj(mpl.text.Text) if text.get_text()) >= 12


def test_without_a_band_nothing_is_shaded(effects: Effects) -> None:
    assert not study(effects("log").where(group="event_time")).banded


def test_the_band_is_matched_by_label(effects: Effects) -> None:
    part = effects("log").where(group="event_time")
    band = part.band(rng=0, draws=999)
    shuffled = study(part, band.sample(frac=1, random_state=1)).frame
    pd.testing.assert_frame_equal(shuffled, study(part, band).frame)
    assert shuffled["band_low"].isna().sum() == 1  # the reference period


def test_plot_takes_the_rows_with_event_times(effects: Effects) -> None:
    figure = plot(effects("log"), band=True)
    assert "reference period" in words(figure)


def test_curves_of_two_estimators(effects: Effects) -> None:
    part = effects("log").where(group="event_time")
    terms = pd.concat([part.terms.assign(group=name) for name in ("a $x^$ <b>", "b")], ignore_index=True)
    both = Estimate(np.tile(part.values, 2), make_terms(dict(terms), 20), None, scale="log")
    found = words(plot(both))
    assert "a $x^$ <b>" in found
    assert "b" in found


def test_ambiguous_event_times_are_refused(effects: Effects) -> None:
    part = effects("log").where(group="event_time")
    terms = pd.concat([part.terms] * 2, ignore_index=True)
    twice = Estimate(np.tile(part.values, 2), make_terms(dict(terms), 20), None)
    with pytest.raises(DataError, match="PMG-PLOT"):
        plot(twice)


def alone(estimate: Estimate[None]) -> Estimate[None]:
    """As one treated area gives it: no law, and the guard's words on every row."""
    own = estimate.terms["status"]
    status = [f"{words}; {ONE_TREATED}" if words else ONE_TREATED for words in own]
    return replace(estimate, uncertainty=None, terms=estimate.terms.assign(status=status))


@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_one_treated_area_has_its_reference_period_and_no_bars(effects: Effects, width: float) -> None:
    part = alone(effects("identity").where(group="event_time"))
    figure = event_study(part, width=width)
    found = words(figure)
    assert {"before the start", "after the start", "reference period"} <= set(found)
    assert "no interval" not in found
    (title,) = [text for text in found if "intervals" in text]
    assert title.endswith("; without intervals")
    assert not any("bars" in text for text in found)
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    marks = {float(line.get_xdata()[0]): line.get_marker() for line in lines}
    assert marks[-1.0] == style.REFERENCE.shape
    assert (marks[-2.0], marks[0.0]) == (style.BEFORE.shape, style.AFTER.shape)
    said = event_study_text(study(part))
    assert "4 estimates before the start" in said  # without the reference
    assert "without intervals" in said
    assert "excludes no effect" not in said


def test_a_reference_that_says_more_is_still_the_reference(effects: Effects) -> None:
    part = effects("log").where(group="event_time")
    status = part.terms["status"].where(part.terms["status"] == "", f"reference; {ONE_TREATED}")
    figure = event_study(replace(part, terms=part.terms.assign(status=status)))
    assert "no interval" not in words(figure)
    assert any("bars: 95" in text for text in words(figure))


def test_bars_are_named_where_there_are_bars(areas: Areas) -> None:
    some = areas(["a", "b"], "log")
    assert any("bars: 95" in text for text in words(forest(some)))
    assert not any("bars" in text for text in words(forest(replace(some, uncertainty=None))))


def test_event_study_needs_event_times(areas: Areas) -> None:
    with pytest.raises(DataError, match="event_time"):
        event_study(areas(["a", "b"], "log"))
    with pytest.raises(DataError, match="PMG-COLUMN"):
        event_study(plot_part(areas), pd.DataFrame({"event_time": [0]}))


def plot_part(areas: Areas) -> Estimate[None]:
    part = areas(["a", "b"], "log")
    terms = part.terms.drop(columns=["unit", "cohort"]).assign(event_time=[-1, 0])
    return replace(part, terms=make_terms(dict(terms), 2))


def test_a_figure_in_words(effects: Effects) -> None:
    said = event_study_text(study(effects("log").where(group="event_time")))
    assert said.startswith("Event study of 10 periods. 4 estimates before the start, from −3.0\u00a0% to +2.0\u00a0%")
    assert "5 estimates after the start" in said


# --- forest ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["identity", "log"])
@pytest.mark.parametrize("width", [style.WIDE, style.NARROW])
def test_forest_is_sorted_and_grows(areas: Areas, scale: ScaleName, width: float) -> None:
    names = [f"Area {i:02d}" for i in range(60)]
    estimate = areas(names, scale)
    figure = forest(estimate, width=width)
    order = [text.split(" · ")[0] for text in words(figure) if text.startswith("Area ")]
    assert order == [names[i] for i in np.argsort(estimate.values, kind="stable")]
    assert height(figure) > 1.8 * height(forest(areas(names[:27], scale), width=width))
    null = 1.0 if scale == "log" else 0.0
    assert any(np.allclose(line.get_xdata(), null) for line in figure.axes[0].lines if len(line.get_xdata()) == 2)


def test_waves_keep_their_order_and_show_their_areas(effects: Effects) -> None:
    part = effects("log").where(group=["overall", "cohort"])
    found = words(forest(part, sort=False))
    assert [text for text in found if "Wave " in text or "All waves" in text] == [
        *("All waves (27 areas)", "Wave 2022 (15 areas)", "Wave 2023 (4 areas)", "Wave 2024 (8 areas)")
    ]


def test_labels_are_no_formulas_and_long_ones_are_cut(areas: Areas, payloads: tuple[str, ...]) -> None:
    for width in (style.WIDE, style.NARROW):
        figure = plot(areas(payloads, "log"), width=width, title="$x^$")
        inline(figure, "f", "title", "words")
        assert "$x^$" in words(figure)
        assert max(len(text) for text in words(figure)) < 60


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, np.nan, 1.2], "ratio of zero"),
        ([1e-12, 0.9, 1.0, 1e12], "extreme ratios"),
        ([np.nan] * 4, "nothing"),
        ([1.0] * 4, "no variation"),
    ],
)
def test_hard_values_are_drawn(areas: Areas, values: list[float], expected: str) -> None:
    estimate = replace(areas(["a", "b", "c", "d"], "log"), values=np.array(values))
    for width in (style.WIDE, style.NARROW):
        assert "<svg" in inline(plot(estimate, width=width), "f", expected, "words")
    assert forest_text(*measured(estimate))


def test_an_estimate_without_a_law(areas: Areas) -> None:
    figure = plot(replace(areas(["a", "b"], "identity"), uncertainty=None))
    assert "no interval" in words(figure)


def test_a_probability_has_no_line_of_no_effect() -> None:
    estimate = Estimate(np.array([0.2, 0.4]), make_terms({"group": ["a", "b"]}, 2), None, scale="cloglog")
    assert "Estimate" in " ".join(words(plot(estimate)))


def test_verdicts() -> None:
    frame = pd.DataFrame({"conf_low": [-2, 1, -1, np.nan], "conf_high": [-1, 2, 1, np.nan]}, dtype="float64")
    assert verdicts(frame, 0.0) == [style.BELOW, style.ABOVE, style.INCLUDES, style.NO_INTERVAL]
    assert verdicts(frame, np.nan)[:3] == [style.PLAIN] * 3


def test_very_many_terms_are_cut(areas: Areas) -> None:
    figure = plot(areas(range(450), "identity"))
    assert "50 further terms are not drawn" in " ".join(words(figure))


# --- axis ------------------------------------------------------------------------------------------------------------

numbers = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=8), st.sampled_from(["identity", "log"]))
@example([(0.0, 0.0, 1.0), (1.0, 0.0, np.inf)], "log")
@example([(np.inf, 1.0, np.inf), (np.nan, np.nan, np.nan)], "identity")
@example([(1e-300, 1e-308, 1e300), (1e300, 1.0, 1e308)], "log")
def test_any_axis_has_limits_around_no_effect(rows: list[tuple[float, float, float]], scale: ScaleName) -> None:
    frame = pd.DataFrame(rows, columns=["estimate", "conf_low", "conf_high"])
    if scale == "identity":  # beyond this, differences of doubles overflow
        frame = frame.clip(-1e150, 1e150)
    axis = EffectAxis.of(frame, scale)
    assert np.isfinite([axis.low, axis.high]).all()
    assert axis.low < axis.null < axis.high
    ticks = axis.ticks(7)
    assert len(axis.labels(ticks, changes=True)) == len(ticks) <= 12


def test_one_wild_interval_does_not_hide_the_others() -> None:
    frame = pd.DataFrame(
        {"estimate": [0.9] * 9 + [1.0], "conf_low": [0.8] * 9 + [1e-6], "conf_high": [1.0] * 9 + [1e6]}
    )
    axis = EffectAxis.of(frame, "log")
    assert axis.low > 0.5
    assert axis.high < 2


# --- colors and markup -----------------------------------------------------------------------------------------------


def luminance(color: str) -> float:
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("color", [style.INK, style.MUTED, style.BLUE, style.RUST, style.GREEN, style.PURPLE])
def test_colors_stand_out_on_white_and_on_the_band(color: str) -> None:
    assert 1.05 / (luminance(color) + 0.05) >= 4.5
    assert (luminance(style.BAND) + 0.05) / (luminance(color) + 0.05) >= 4.5


def test_meaning_is_never_carried_by_color_alone() -> None:
    for marks in (
        [style.BELOW, style.ABOVE, style.INCLUDES, style.NO_INTERVAL],
        [style.BEFORE, style.AFTER, style.REFERENCE, style.NO_INTERVAL],
    ):
        assert len({mark.shape for mark in marks}) == len(marks)
    assert len({shape for shape, _ in style.SERIES}) == len(style.SERIES)


def test_two_figures_share_no_identifier(areas: Areas) -> None:
    import re

    drawings = [inline(plot(areas(["a", "b"], "log")), name, "t", "d") for name in ("one", "two")]
    ids = [set(re.findall(r'\bid="([^"]+)"', drawing)) for drawing in drawings]
    assert ids[0]
    assert not ids[0] & ids[1]
    for drawing, own in zip(drawings, ids, strict=True):
        used = set(re.findall(r'href="#([^"]+)"', drawing)) | set(re.findall(r"url\(#([^)]+)\)", drawing))
        assert used <= own
        assert "http" not in drawing
        assert "<style" not in drawing
        assert "<metadata" not in drawing


def test_settings_of_the_user_are_left_alone(areas: Areas) -> None:
    before = dict(mpl.rcParams)
    inline(plot(areas(["a", "b"], "log")), "f", "t", "d")
    assert dict(mpl.rcParams) == before


NO_PYPLOT = """
import sys
import numpy as np
from pmg_eval.estimate import Estimate, make_terms
assert "matplotlib" not in sys.modules, "matplotlib is imported where used"
figure = Estimate(np.array([0.1, 0.2]), make_terms({"unit": ["a", "b"]}, 2)).plot()
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
assert type(figure).__name__ == "Figure"
"""


def test_pyplot_is_never_imported() -> None:
    subprocess.run([sys.executable, "-c", NO_PYPLOT], check=True)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"kind": "pie"}, "PMG-OPTION"),
        ({"width": 10}, "PMG-WIDTH"),
        ({"width": np.nan}, "PMG-WIDTH"),
        ({"level": 2}, "PMG-LEVEL"),
    ],
)
def test_options_are_checked(areas: Areas, options: dict[str, Any], code: str) -> None:
    with pytest.raises(DataError) as caught:
        plot(areas(["a", "b"], "log"), **options)
    assert caught.value.code == code


def test_nothing_to_draw(areas: Areas) -> None:
    with pytest.raises(DataError, match="no term"):
        plot(areas(["a"], "log").take([]))


def test_matplotlib_is_an_extra(areas: Areas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(DataError, match="PMG-EXTRA") as caught:
        areas(["a", "b"], "log").plot()
    assert 'pip install "pmg_eval[report]"' in str(caught.value)
