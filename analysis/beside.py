"""What stands beside an aggregate: its noise floor, its value without noise, its interval, what chance would give.

Each function takes the `Evidence` and gives a `Beside`; `BESIDE` names the aggregate that it belongs to. An interval is
there only for what the simulations in the tests cover.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from analysis.baselines import family_test, row_correlation_ceiling, row_cosine_ceiling
from analysis.inference import CellTests, cell_tests, share_bounds
from analysis.matrix import CLTM
from analysis.replicates import MIN_SEEDS
from analysis.resampling import (
    Noise,
    Resampled,
    asymmetry_floor,
    asymmetry_square,
    resample,
    rfd_floor,
    rfd_square,
    rms_floor,
    rms_square,
    row_cosine,
    row_cosine_floor,
)
from analysis.uncertainty import Floats


@dataclass(frozen=True)
class Beside:
    """What is known beside the value of an aggregate; None where it can't be known or does not apply.

    Attributes:
        floor: what a language-agnostic matrix with the same errors would show.
        corrected_square: the square without what noise adds to it; negative if noise alone explains more than there is.
        corrected: its root, 0 where it is negative; or the value without noise of what is no square.
        lower, upper: 95 % interval over seeds, of the value without noise.
        chance: what it would be if families, or the two directions of a pair, had nothing to do with each other.
        chance_p: how often chance gives as much.
        ceiling: what noise would leave of a perfect 1.
        language_lower, language_upper: 95 % interval over languages of the same kind, of the value itself.
    """

    floor: float | None = None
    corrected_square: float | None = None
    corrected: float | None = None
    lower: float | None = None
    upper: float | None = None
    chance: float | None = None
    chance_p: float | None = None
    ceiling: float | None = None
    language_lower: float | None = None
    language_upper: float | None = None

    def known(self) -> dict[str, float]:
        """The names and numbers that there are."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: value for name, value in pairs if value is not None}


@dataclass(frozen=True, eq=False)
class Evidence:
    """What every `Beside` is made of; no tests and no resampled matrices for a bare one."""

    cltm: CLTM
    tests: CellTests | None
    resampled: Resampled | None


def evidence(cltm: CLTM) -> Evidence:
    """Computes what is common to all aggregates, once."""
    tests = cell_tests(cltm.scores) if cltm.scores is not None else None
    return Evidence(cltm, tests, resample(cltm))


def rfd(found: Evidence) -> Beside:
    """Noise floor, corrected square, interval."""
    return _corrected(found, RFD)


def relative_asymmetry(found: Evidence) -> Beside:
    """Noise floor, corrected square, interval."""
    return _corrected(found, ASYMMETRY)


def rms(found: Evidence) -> Beside:
    """Noise floor, corrected square, interval."""
    return _corrected(found, RMS)


def average_row_cosine(found: Evidence) -> Beside:
    """Noise floor, corrected value, interval (no cosine lies beyond 1), ceiling."""
    plain = _corrected(found, COSINE)
    upper = None if plain.upper is None else min(plain.upper, 1.0)
    return replace(plain, upper=upper, ceiling=row_cosine_ceiling(found.cltm))


def row_correlation(found: Evidence) -> Beside:
    """Its ceiling alone."""
    return Beside(ceiling=row_correlation_ceiling(found.cltm))


def prop_positive(found: Evidence) -> Beside:
    """What the tests of all gains together prove."""
    return _proven(found, "gain", above=True)


def prop_negative(found: Evidence) -> Beside:
    """What the tests of all gains together prove."""
    return _proven(found, "gain", above=False)


def prop_above_one(found: Evidence) -> Beside:
    """What the tests against the target's own data prove together."""
    return _proven(found, "own", above=True)


def reciprocity_positive(found: Evidence) -> Beside:
    """What the tests prove of pairs; chance is prop+ squared.

    Both directions are positive if the weaker one is; they are not both if one is negative, where the smaller of two
    p-values counts twice.
    """
    cltm = found.cltm
    chance = float((cltm.r > 0)[cltm.used].mean() ** 2) if cltm.used.any() else None
    if found.tests is None or not _enough(found):
        return Beside(chance=chance)
    pairs = np.triu(cltm.used & cltm.used.T)
    up = found.tests.gain.p_upper
    positive, other = np.maximum(up, up.T)[pairs], np.minimum(2 * np.minimum(1 - up, 1 - up.T), 1.0)[pairs]
    return replace(_interval(share_bounds(positive, other)), chance=chance)


def intra_family_positive_mass(found: Evidence) -> Beside:
    """Chance by permuting family labels, and its p-value."""
    test = family_test(found.cltm)
    return Beside(chance=test.chance, chance_p=test.p) if test else Beside()


def _corrected(found: Evidence, noise: Noise) -> Beside:
    """Floor, value without noise, interval."""
    resampled = found.resampled
    if resampled is None:
        return Beside()
    corrected, bounds = noise.corrected(resampled.matrix), resampled.interval(noise)
    plain = _root if noise.square else _finite
    return Beside(
        floor=_finite(noise.floor(resampled.agnostic)),
        corrected_square=_finite(corrected) if noise.square else None,
        corrected=plain(corrected),
        lower=plain(bounds[0]) if bounds else None,
        upper=plain(bounds[1]) if bounds else None,
    )


def _proven(found: Evidence, question: str, *, above: bool) -> Beside:
    """The interval of a share of cells that closed testing gives."""
    if found.tests is None or not _enough(found):
        return Beside()
    up: Floats = getattr(found.tests, question).p_upper[found.cltm.used]
    return _interval(share_bounds(up, 1 - up) if above else share_bounds(1 - up, up))


def _enough(found: Evidence) -> bool:
    """Whether every cell used has the seeds that an interval of a whole matrix takes."""
    return found.resampled is not None and found.resampled.seeds >= MIN_SEEDS


def _interval(bounds: tuple[float, float] | None) -> Beside:
    """Bounds alone."""
    return Beside(lower=bounds[0], upper=bounds[1]) if bounds else Beside()


def _root(square: float) -> float | None:
    """The root of a noise-corrected square, 0 if it is negative."""
    return float(np.sqrt(max(square, 0.0))) if np.isfinite(square) else None


def _finite(value: float) -> float | None:
    """A plain number, or None if it is not finite."""
    return float(value) if np.isfinite(value) else None


RFD = Noise(rfd_square, rfd_floor)
ASYMMETRY = Noise(asymmetry_square, asymmetry_floor)
RMS = Noise(rms_square, rms_floor)
COSINE = Noise(row_cosine, row_cosine_floor, square=False)
BESIDE: Mapping[str, Callable[[Evidence], Beside]] = {
    "rfd": rfd,
    "relative_asymmetry": relative_asymmetry,
    "average_row_cosine": average_row_cosine,
    "row_correlation": row_correlation,
    "prop_positive": prop_positive,
    "prop_negative": prop_negative,
    "prop_above_one": prop_above_one,
    "reciprocity_positive": reciprocity_positive,
    "intra_family_positive_mass": intra_family_positive_mass,
    "rms": rms,
}
