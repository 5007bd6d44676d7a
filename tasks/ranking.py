"""What a similarity matrix retrieves: ranks, recall, reciprocal rank, and their intervals over utterances.

Shapes: Q queries, G utterances of the gallery, K clusters of queries.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.examples import keyed

RESAMPLINGS = 1000
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where each query's own utterance stands in the gallery.

    Attributes:
        above: (Q,) utterances more like the query than its own.
        ties: (Q,) others as like the query as its own.
    """

    above: np.ndarray
    ties: np.ndarray

    def recall(self, k: int) -> np.ndarray:
        """(Q,) probability that its own is among the first k, ties in random order."""
        return np.clip((k - self.above) / (self.ties + 1), 0, 1)

    @property
    def reciprocal(self) -> np.ndarray:
        """(Q,) mean of 1 / rank, ties in random order."""
        spans = zip(self.above.tolist(), self.ties.tolist(), strict=True)
        return np.array([(1 / np.arange(above + 1, above + ties + 2)).mean() for above, ties in spans])


def ranks(similarity_QG: np.ndarray, own_Q: np.ndarray) -> Ranks:
    """The ranks of (Q,) own utterances, numbers of columns, by falling similarity."""
    own_Q1 = np.take_along_axis(similarity_QG, own_Q[:, None], axis=1)
    return Ranks((similarity_QG > own_Q1).sum(1), (similarity_QG == own_Q1).sum(1) - 1)


def interval(values_Q: np.ndarray, clusters: Sequence[str]) -> tuple[float, float]:
    """95 % interval of a mean over queries: percentile bootstrap over the clusters that they came in (speakers).

    The gallery stays as it is. It is a function of the arguments alone.

    Args:
        values_Q: (Q,) the values, one a query.
        clusters: the cluster of each query.
    """
    names, number_Q = np.unique(np.array(clusters, dtype=object).astype(str), return_inverse=True)
    sums_K, counts_K = np.bincount(number_Q, values_Q), np.bincount(number_Q)
    draws = np.random.Generator(np.random.PCG64(keyed("ranking", *names)))
    times_BK = draws.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLINGS)
    means_B = (times_BK @ sums_K) / (times_BK @ counts_K)
    low, high = np.quantile(means_B, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
