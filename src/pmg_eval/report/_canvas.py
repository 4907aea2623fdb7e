"""What the figures share: a blank figure outside pyplot's global state, marks, legends and cleaned text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from pmg_eval.errors import DataError
from pmg_eval.estimate import Estimate
from pmg_eval.report._extra import require
from pmg_eval.report._style import FONT, GRID, INK, LETTER, MUTED, Mark, Stroke
from pmg_eval.report._words import clean, columns_of, counted, missing, percent, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LINE = 19.0  # height of a line of text
TITLE = 26.0  # height of the title
PAD = 6.0  # around the figure


def frame_of(estimate: Estimate[Any], level: float) -> pd.DataFrame:
    """``to_frame`` with plain numbers where they are drawn."""
    frame = estimate.to_frame(level).reset_index(drop=True)
    for name in ("estimate", "conf_low", "conf_high"):
        frame[name] = frame[name].astype("float64")
    return frame


def has_intervals(frame: pd.DataFrame) -> bool:
    """Whether any row has both ends of an interval."""
    return bool((frame["conf_low"].notna() & frame["conf_high"].notna()).any())


def bars(frame: pd.DataFrame, level: float) -> str:
    """What the bars of a figure are, for the title of its axis."""
    return f"bars: {percent(100 * level, 0, signed=False)} intervals" if has_intervals(frame) else "without intervals"


def check_width(width: float) -> None:
    """Refuse a figure too narrow or too wide to draw on."""
    if not (math.isfinite(width) and 240 <= width <= 4000):
        raise DataError("PMG-WIDTH", f"width={width} cannot be drawn", fix="between 240 and 4000; a phone shows 340")


def width_of(texts: Iterable[str], size: float = FONT) -> float:
    """Room that the longest of these texts needs."""
    return max((columns_of(text) for text in texts), default=0) * LETTER * size


def blank(width: float, height: float, *, left: float, right: float, top: float, bottom: float) -> tuple[Figure, Axes]:
    """A figure with one axes, margins in points; no pyplot, so nothing is kept alive or shown by itself."""
    figure = canvas(width, height)
    return figure, axes_in(figure, left=left, right=right, top=top, bottom=bottom)


def canvas(width: float, height: float) -> Figure:
    """A white figure without axes; sizes in points."""
    require("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=144, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def axes_in(figure: Figure, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Axes with an axis on the left and below, at distances in points from the edges of the figure."""
    width, height = figure.get_figwidth() * 72, figure.get_figheight() * 72
    box = (left / width, bottom / height, (width - left - right) / width, (height - top - bottom) / height)
    axes = figure.add_axes(box)
    axes.set_facecolor("white")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set(color=MUTED, linewidth=0.8)
    axes.tick_params(colors=INK, labelsize=FONT, length=4, width=0.8, color=MUTED)
    axes.set_axisbelow(True)
    return axes


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure to lay out by hand: one bare axes over all of it, in points from the top left corner."""
    figure, axes = blank(width, height, left=0, right=0, top=0, bottom=0)
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    return figure, axes


def line(axes: Axes, x: Any, y: Any, stroke: Stroke, **style: Any) -> None:
    """A line in the color and dashes of its kind."""
    look: dict[str, Any] = {"color": stroke.color, "linewidth": stroke.width, "linestyle": stroke.style}
    axes.plot(x, y, **(look | {"dash_capstyle": "butt", "solid_capstyle": "round"} | style))


def stroke_handle(stroke: Stroke, **style: Any) -> Line2D:
    """A legend entry for a line."""
    from matplotlib.lines import Line2D

    look: dict[str, Any] = {"color": stroke.color, "linewidth": stroke.width, "linestyle": stroke.style}
    return Line2D([], [], label=clean(stroke.words), **(look | style))


def text(axes: Axes, x: float, y: float, words: str, **style: Any) -> None:
    """Text that is never read as a formula, whatever dollar signs a label holds."""
    axes.text(x, y, clean_lines(words), parse_math=False, **{"fontsize": FONT, "color": INK, "clip_on": False, **style})


def clean_lines(words: str) -> str:
    """Cleaned text that keeps its own line breaks."""
    return "\n".join(clean(line) for line in words.split("\n"))


def point(axes: Axes, x: float, y: float, mark: Mark) -> None:
    """One marker."""
    axes.plot([x], [y], **_look(mark), zorder=4, clip_on=False)


def arrow(axes: Axes, x: float, y: float, direction: str, color: str) -> None:
    """The sign that a line goes on beyond the axis: ``direction`` is one of ``<>^v``."""
    axes.plot([x], [y], linestyle="none", marker=direction, markersize=5, color=color, zorder=4, clip_on=False)


def _look(mark: Mark) -> dict[str, Any]:
    return {
        "linestyle": "none",
        "marker": mark.shape,
        "markersize": mark.size,
        "markerfacecolor": mark.color if mark.filled else "white",
        "markeredgecolor": mark.color,
        "markeredgewidth": 1.6,
    }


def legend_handle(mark: Mark) -> Line2D:
    """A legend entry for a mark."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=clean(mark.words), **_look(mark))


def heading(figure: Figure, title: str | None, handles: Sequence[Any], width: float, *, handle: float = 1.6) -> None:
    """The title, if any, and the legend at the top left, in as many rows as its width asks for."""
    height = figure.get_figheight() * 72
    top = PAD
    if title:
        words = shortened(clean(title), int((width - 2 * PAD) / (LETTER * 1.15 * (FONT + 2))))
        style: dict[str, Any] = {"fontsize": FONT + 2, "color": INK, "weight": "bold", "va": "top", "parse_math": False}
        figure.text(PAD / width, 1 - top / height, words, **style)
        top += TITLE
    if not handles:
        return
    drawn = figure.legend(
        handles=list(handles),
        loc="upper left",
        bbox_to_anchor=(PAD / width, 1 - top / height),
        ncols=legend_columns([str(handle.get_label()) for handle in handles], width),
        frameon=False,
        fontsize=FONT,
        labelcolor=INK,
        borderpad=0.0,
        borderaxespad=0.0,
        handletextpad=0.3,
        columnspacing=1.2,
        labelspacing=LINE / FONT - 1,
        handlelength=handle,
    )
    for entry in drawn.get_texts():
        entry.set_parse_math(False)


def legend_columns(words: Sequence[str], width: float) -> int:
    """How many entries fit side by side."""
    room = [width_of([word]) + 3.4 * FONT for word in words]
    if sum(room) <= width - 2 * PAD:
        return len(words)
    return max(1, min(len(words), int((width - 2 * PAD) // max(room))))


def heading_height(title: str | None, handles: Sequence[Any], width: float) -> float:
    """Room for title and legend."""
    words = [str(handle.get_label()) for handle in handles]
    rows = math.ceil(len(words) / legend_columns(words, width)) if words else 0
    return PAD + (TITLE if title else 0.0) + rows * LINE + 6


def hairline(axes: Axes, which: str) -> None:
    """Faint grid lines along one axis."""
    axes.grid(visible=True, axis="x" if which == "x" else "y", color=GRID, linewidth=0.8)


_PLAIN_GROUPS = ("overall", "cohort", "event_time", "unit")


@dataclass(frozen=True)
class Name:
    """What a reader calls a term; when room is short, the main part is cut and the rest stays."""

    main: str
    rest: str = ""

    def __str__(self) -> str:
        return self.main + self.rest

    def within(self, columns: int) -> str:
        """The name in at most so many columns."""
        return shortened(self.main, max(columns - columns_of(self.rest), 6)) + self.rest


def fitting(names: Sequence[Name], columns: int) -> list[str]:
    """Names in at most so many columns; where some are too long, all go without their second part."""
    if any(columns_of(str(name)) > columns for name in names):
        names = [Name(name.main) for name in names]
    return [name.within(columns) for name in names]


def term_names(frame: pd.DataFrame, labels: Sequence[str]) -> list[Name]:
    """The area, wave, group, ... of each term, and how many areas stand behind it."""
    varying = [name for name in labels if frame[name].nunique(dropna=False) > 1]
    return [_term_name(row, labels, varying) for _, row in frame.iterrows()]


def _term_name(row: pd.Series[Any], labels: Sequence[str], varying: Sequence[str]) -> Name:
    present = {name: words for name in labels if (words := clean(row[name]))}
    parts = []
    group = present.get("group", "")
    if group == "overall":
        parts.append("All waves")
    elif group and group not in _PLAIN_GROUPS:
        parts.append(group)
    if "unit" in present:
        parts.append(present["unit"])
    if "cohort" in present:
        parts.append(f"wave {present['cohort']}" if parts else f"Wave {present['cohort']}")
    if "event_time" in present:
        parts.append(f"event time {present['event_time']}")
    parts += [present[name] for name in ("contrast", "period", "horizon") if name in present]
    parts += [present[name] for name in ("outcome", "estimand") if name in present and name in varying]
    first, *others = parts or ["Estimate"]
    rest = "".join(f" · {part}" for part in others)
    many: Any = row.get("n_treated")
    if "unit" not in present and not missing(many):
        rest += f" ({counted(int(many), 'area')})"
    return Name(first, rest)
