"""Colours of matrices and families: one diverging scale centred on 0, lightness falling monotonically on both sides.

Blue (negative) against orange (positive) stays apart for the common colour-vision deficiencies. No library is needed,
so that figure and report use the same numbers.
"""

from collections.abc import Sequence

import numpy as np

from analysis.uncertainty import Floats

NEGATIVE_STOPS = ("#f7f6f4", "#cfe0ee", "#93bfdf", "#4e93c4", "#22639b", "#0d3a66")  # from 0 to -limit
POSITIVE_STOPS = ("#f7f6f4", "#fce0bf", "#f9b878", "#e8863a", "#b85a14", "#763407")  # from 0 to +limit
# Paul Tol's "muted" scheme and a grey, reordered so that neighbours differ in lightness.
FAMILIES = (
    "#332288",
    "#ddaa33",
    "#117733",
    "#cc6677",
    "#88ccee",
    "#882255",
    "#999933",
    "#44aa99",
    "#aa4499",
    "#6f6f6f",
)
UNKNOWN_FAMILY = "#e3e3e3"
KEPT_OUT = "#ececec"
LIMITS = (1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0)
ROBUST_PERCENTILE = 80  # of |r|
OUTLIER = 1.5  # times that percentile: only cells beyond it may lie outside the scale, or they would bleach the rest


def colour_limit(values: Floats) -> float:
    """The |r| at the ends of the scale: a round number that covers every cell but outliers, at least 1.25.

    Args:
        values: (...), of r; NaN is ignored.
    """
    size = np.abs(values[np.isfinite(values)])
    if not size.size:
        return LIMITS[0]
    usual, largest = float(np.percentile(size, ROBUST_PERCENTILE)), float(size.max())
    wanted = largest if largest <= OUTLIER * usual else usual
    return next((limit for limit in LIMITS if limit >= wanted), float(np.ceil(wanted)))


def hex_colour(value: float, limit: float) -> str:
    """The colour of a value as "#rrggbb"; values beyond the limit take the end's colour."""
    stops = POSITIVE_STOPS if value >= 0 else NEGATIVE_STOPS
    place = min(abs(value) / limit, 1.0) * (len(stops) - 1)
    low = min(int(place), len(stops) - 2)
    one, other = _rgb(stops[low]), _rgb(stops[low + 1])
    return "#" + "".join(f"{round(a + (b - a) * (place - low)):02x}" for a, b in zip(one, other, strict=True))


def ink(colour: str) -> str:
    """The text colour, white or black, that stands out more from a "#rrggbb" colour (contrast at least 4.5).

    Source: relative luminance and contrast ratio of WCAG 2; both inks are equal at a luminance of 0.179.
    """
    channels = (channel / 255 for channel in _rgb(colour))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "#ffffff" if luminance < 0.179 else "#000000"


def family_colours(families: Sequence[str]) -> dict[str, str]:
    """A colour for each family in order of appearance; they repeat after ten, and the label beside tells."""
    names = [name for name in dict.fromkeys(families) if name]
    return {"": UNKNOWN_FAMILY, **{name: FAMILIES[i % len(FAMILIES)] for i, name in enumerate(names)}}


def family_order(families: Sequence[str]) -> tuple[int, ...]:
    """Positions that bring families together, in order of first appearance; unknown ones last."""
    first = {name: position for position, name in reversed(list(enumerate(families)))}
    return tuple(sorted(range(len(families)), key=lambda i: (families[i] == "", first[families[i]], i)))


def _rgb(colour: str) -> tuple[int, int, int]:
    """The channels of "#rrggbb"."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
