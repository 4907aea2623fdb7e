"""Colors, shapes and sizes of the figures.

The palette is safe for the common color deficiencies (blue against rust, never red against green), every color has a
contrast of at least 4.5 on white, and a meaning is never carried by color alone: shapes and fills differ as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INK = "#1a1a1a"
MUTED = "#4a4a4a"
BLUE = "#0b5394"
RUST = "#a33b00"
GREEN = "#00664f"
PURPLE = "#6a3d9a"
# Surfaces and hairlines carry no text.
GRID = "#e3e7ec"
BAND = "#d3e2f2"
BAND_EDGE = "#5b8fc4"

# Sizes are CSS pixels in the page and points on paper.
FONT = 13.0
LETTER = 0.56  # width of an average letter, in font sizes
BOLD = 1.15  # how much wider bold letters are
WIDE, NARROW = 800, 340  # the two widths a page carries
COMPACT = 480  # below this width a figure uses its layout for phones


@dataclass(frozen=True)
class Mark:
    """How one kind of point is drawn and what it is called in the legend."""

    shape: str
    color: str
    filled: bool
    words: str
    size: float = 7.0


# Where an interval lies relative to no effect.
BELOW = Mark("v", BLUE, True, "interval wholly below no effect", 7.5)
ABOVE = Mark("^", RUST, True, "interval wholly above no effect", 7.5)
INCLUDES = Mark("o", MUTED, False, "interval includes no effect", 6.5)
NO_INTERVAL = Mark("x", MUTED, False, "no interval", 6.0)
PLAIN = Mark("o", BLUE, True, "estimate", 6.5)

TRUTH = Mark("|", INK, True, "true effect (simulated data)", 15.0)

# Before and after the start.
BEFORE = Mark("o", MUTED, False, "before the start", 6.5)
AFTER = Mark("s", BLUE, True, "after the start", 6.5)
REFERENCE = Mark("D", INK, False, "reference period", 6.5)

SERIES = (("o", BLUE), ("s", RUST), ("^", GREEN), ("D", PURPLE))


@dataclass(frozen=True)
class Stroke:
    """How a line is drawn and what it is called: color and dashes always differ together."""

    color: str
    dashes: tuple[float, ...]
    words: str
    width: float = 2.0

    @property
    def style(self) -> Any:
        """The dashes as matplotlib takes them."""
        return (0.0, self.dashes) if self.dashes else "-"


OBSERVED = Stroke(BLUE, (), "observed", 2.2)
SYNTHETIC = Stroke(RUST, (4.0, 2.2), "synthetic path", 2.0)
START = Stroke(MUTED, (1.0, 1.6), "start of the programme", 1.4)
CURVES = (
    (BLUE, ()),
    (RUST, (5.0, 2.0)),
    (GREEN, (1.2, 1.4)),
    (PURPLE, (6.0, 1.6, 1.2, 1.6)),
    (INK, (9.0, 2.5)),
    (MUTED, (3.0, 1.2, 1.0, 1.2, 1.0, 1.2)),
)
