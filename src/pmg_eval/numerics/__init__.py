"""Arrays in, arrays out: least squares, absorption, sums, simplex problems (L0)."""
