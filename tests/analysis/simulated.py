"""Scores over seeds with a known truth, for simulations: every truth is a matrix of r, every noise is normal."""

from dataclasses import dataclass

import numpy as np

from analysis.matrix import CLTM, from_scores
from analysis.scores import Scores

LANGUAGES, SEEDS = 44, 10
GAIN = 0.2
FAMILIES = 8


@dataclass(frozen=True)
class SeedNoise:
    """How scores vary over seeds, as shares of the self-gain.

    Attributes:
        sd: of every score on its own; the bars take a third.
        paired: sd of what a seed adds to all scores of a target.
        training: correlation of the two scores of one training, those of (i, j) and of (j, i).
    """

    sd: float = 1 / 3
    paired: float = 0.0
    training: float = 0.0


def agnostic(rng: np.random.Generator, n: int = LANGUAGES) -> np.ndarray:
    """Every language helps as much as the target's own."""
    return np.ones((n, n))


def spread(centre: float, sd: float) -> "Truth":
    """Cells around a centre, partly by target and by donor."""

    def truth(rng: np.random.Generator, n: int = LANGUAGES) -> np.ndarray:
        parts = rng.normal(0, sd / np.sqrt(3), (n, 1)) + rng.normal(0, sd / np.sqrt(3), n)
        return with_diagonal(centre + parts + rng.normal(0, sd / np.sqrt(3), (n, n)))

    return truth


Truth = type(agnostic)
SETTINGS = {"agnostic": agnostic, "half": spread(0.5, 0.2), "minus_one": spread(-1.0, 0.4)}


def with_diagonal(r: np.ndarray) -> np.ndarray:
    """The matrix with 1 on its diagonal."""
    return np.where(np.eye(len(r), dtype=bool), 1.0, r)


def simulate(r: np.ndarray, rng: np.random.Generator, noise: SeedNoise | None = None, seeds: int = SEEDS,
             gain: float = GAIN) -> Scores:  # fmt: skip
    """Scores of a truth; `gain = 0` is pure noise, whose sd then is a share of `GAIN`."""
    noise, n = noise or SeedNoise(), len(r)
    sd, shared = noise.sd * GAIN, rng.normal(0, noise.paired * GAIN, (n, seeds))
    base, own = (0.5 + shared + rng.normal(0, sd, (n, seeds)) for _ in range(2))
    one, other = rng.normal(0, sd, (2, n, n, seeds))
    upper = np.triu(np.ones((n, n), dtype=bool), 1)[..., None]
    mixed = noise.training * one.transpose(1, 0, 2) + np.sqrt(1 - noise.training**2) * other
    cross = 0.5 + r[..., None] * gain + shared[:, None] + np.where(upper, one, mixed)
    cross[np.arange(n), np.arange(n)] = np.nan
    codes = tuple(f"l{i:03d}" for i in range(n))
    return Scores(codes, tuple(range(seeds)), "score", False, base, own + gain, cross)


def matrix(scores: Scores) -> CLTM:
    """The matrix of the scores, languages in families that mean nothing."""
    return from_scores(scores, [f"family {i % FAMILIES}" for i in range(len(scores.languages))])
