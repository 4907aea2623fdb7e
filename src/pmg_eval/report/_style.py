"""Colors, shapes and sizes of the figures.

The palette is safe for the common color deficiencies (blue against rust, never red against green), every color has a
contrast of at least 4.5 on white, and a meaning is never carried by color alone: shapes and fills differ as well.
"""

from __future__ import annotations

from dataclasses import dataclass

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

# Before and after the start.
BEFORE = Mark("o", MUTED, False, "before the start", 6.5)
AFTER = Mark("s", BLUE, True, "after the start", 6.5)
REFERENCE = Mark("D", INK, False, "reference period", 6.5)

SERIES = (("o", BLUE), ("s", RUST), ("^", GREEN), ("D", PURPLE))
