"""Principal components of the rows and eigenvalues of the matrix, for the largest complete square that there is."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.diagnostics import PCA_SHARE
from analysis.structure import complete_subset
from analysis.uncertainty import Floats, Ints


@dataclass(frozen=True, eq=False)
class Spectrum:
    """What spans the rows.

    Attributes:
        kept: positions of the K languages that have every cell among them.
        scores: (K, K) the rows on the components, the first one first; each component's largest loading is positive.
        shares: (K,) of the variance of the rows, column means removed.
        eigenvalues: (K,) of the matrix, the largest absolute value first.
    """

    kept: Ints
    scores: Floats
    shares: Floats
    eigenvalues: NDArray[np.complex128]

    @property
    def components(self) -> int:
        """Fewest components that explain 80 % of the variance."""
        return int(np.searchsorted(np.cumsum(self.shares), PCA_SHARE - 1e-12) + 1)


def spectrum(values: Floats) -> Spectrum | None:
    """The spectrum of a matrix with its diagonal, or None without variance or with fewer than three complete languages.

    Args:
        values: (L, L); NaN is a hole. A matrix without a diagonal (raw gains) has no spectrum.
    """
    kept = complete_subset(values)
    square = values[np.ix_(kept, kept)]
    if len(kept) < 3 or not np.isfinite(square).all():
        return None
    left, singular, right = np.linalg.svd(square - square.mean(axis=0))
    if (singular**2).sum() <= 1e-24 * (square**2).sum():
        return None
    sign = np.sign(right[np.arange(len(right)), np.abs(right).argmax(axis=1)])
    eigenvalues = np.linalg.eigvals(square).astype(np.complex128)
    order = np.lexsort((eigenvalues.imag, -np.abs(eigenvalues).round(12)))
    return Spectrum(kept, left * singular * sign, singular**2 / (singular**2).sum(), eigenvalues[order])
