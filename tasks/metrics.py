"""Measures of classification and verification, on numpy arrays. Fractions, never percent."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from sklearn.metrics import accuracy_score, auc, f1_score, roc_curve


def macro_f1(truth: np.ndarray, guess: np.ndarray, classes: int) -> float:
    """Mean over all classes of F1, a class that is never guessed counting 0.

    Args:
        truth: (N,) class indices.
        guess: (N,) class indices.
        classes: number of classes, whether or not they occur.

    Source: sklearn.metrics.f1_score, average="macro".
    """
    return float(f1_score(truth, guess, labels=range(classes), average="macro", zero_division=0))


def accuracy(truth: np.ndarray, guess: np.ndarray) -> float:
    """Share of equal entries of two (N,) arrays. Source: sklearn.metrics.accuracy_score."""
    return float(accuracy_score(truth, guess))


@dataclass(frozen=True, eq=False)
class Det:
    """The points of a DET curve: both errors at every threshold, from accepting nothing to accepting all.

    Attributes:
        thresholds: (T,) falling; the first is inf, the others are the different scores. A pair is accepted whose score
            is not below.
        false_accept: (T,) share of different-speaker pairs that are accepted, rising from 0 to 1.
        miss: (T,) share of same-speaker pairs that are not, falling from 1 to 0.
    """

    thresholds: np.ndarray
    false_accept: np.ndarray
    miss: np.ndarray

    def eer(self) -> tuple[float, float]:
        """Equal error rate, and the score nearest to it.

        The rate is where the linearly interpolated curve has equal errors; no threshold need have it. The threshold is
        the one whose errors differ least, the higher one of two.
        """
        excess = self.false_accept - self.miss  # rises from -1 to 1
        after = int(np.argmax(excess >= 0))
        low, high = excess[after - 1], excess[after]
        part = -low / (high - low)
        rate = self.false_accept[after - 1] + part * (self.false_accept[after] - self.false_accept[after - 1])
        nearest = after - 1 if after > 1 and -low <= high else after
        return float(rate), float(self.thresholds[nearest])

    def min_dcf(self, prior: float) -> float:
        """Smallest detection cost with unit costs, over that of accepting all or nothing.

        Args:
            prior: probability of a same-speaker pair.

        Source: VoxSRC evaluation plans.
        """
        cost = prior * self.miss + (1 - prior) * self.false_accept
        return float(cost.min() / min(prior, 1 - prior))


def det(same: np.ndarray, scores: np.ndarray) -> Det:
    """The DET curve of pairs. Source: sklearn.metrics.roc_curve.

    Args:
        same: (N,) bool, whether both sides are one speaker. Both kinds must occur.
        scores: (N,) float, higher means more alike.
    """
    accept, hit, thresholds = roc_curve(same, scores, drop_intermediate=False)
    return Det(thresholds, accept, 1 - hit)


def cllr(same: np.ndarray, log_ratios: np.ndarray) -> float:
    """Cost of log-likelihood ratios in bits: 0 for a perfect system, 1 for one that always says 0.

    Args:
        same: (N,) bool.
        log_ratios: (N,) natural logarithms of likelihood ratios, same over different.

    Source: Brummer & du Preez 2006, "Application-independent evaluation of speaker detection", eq. 13.
    """
    return (_bits(-log_ratios, same) + _bits(log_ratios, ~same)) / 2


def min_cllr(same: np.ndarray, scores: np.ndarray) -> float:
    """`cllr` after the monotone map of scores to log-likelihood ratios that makes it smallest, so of any scores.

    It measures discrimination over all operating points; a cosine is no likelihood ratio, so its own cost says nothing.

    Args:
        same: (N,) bool, whether both sides are one speaker. Both kinds must occur.
        scores: (N,) float, higher means more alike.

    Source: pool adjacent violators, Brummer & du Preez 2006, section 7.
    """
    distinct, place = np.unique(scores, return_inverse=True)
    of_each = np.bincount(place, minlength=len(distinct)).astype(float)
    of_same = np.bincount(place, weights=same, minlength=len(distinct))
    share = isotonic_regression(of_same / of_each, weights=of_each).x
    with np.errstate(divide="ignore"):
        log_ratios = np.log(share) - np.log1p(-share) - np.log(of_same.sum() / (of_each - of_same).sum())
    return (_bits(-log_ratios, of_same) + _bits(log_ratios, of_each - of_same)) / 2


def _bits(log_odds: np.ndarray, weights: np.ndarray) -> float:
    """Weighted mean of log2(1 + exp(log_odds)); what has no weight may be infinite."""
    there = weights > 0
    return float(np.average(np.logaddexp(0, log_odds[there]), weights=weights[there]) / np.log(2))


@dataclass(frozen=True)
class Verification:
    """Measures of a list of verification trials.

    Attributes:
        auc: area under the ROC curve, ties counted half, as sklearn.metrics.roc_auc_score has it.
        eer: where the linearly interpolated ROC curve has equal false accepts and false rejects.
        eer_threshold: the score whose two errors differ least.
        min_dcf: target prior -> normalised minimum detection cost with unit costs. Source: VoxSRC evaluation plans.
        min_cllr: see the function.
    """

    auc: float
    eer: float
    eer_threshold: float
    min_dcf: dict[float, float]
    min_cllr: float


def verification(same: np.ndarray, scores: np.ndarray, priors: tuple[float, ...] = (0.01, 0.05)) -> Verification:
    """The measures of trials.

    Args:
        same: (N,) bool, whether both sides are one speaker. Both kinds must occur.
        scores: (N,) float, higher means more alike.
        priors: probabilities of a same-speaker trial for minDCF.
    """
    curve = det(same, scores)
    area = auc(curve.false_accept, 1 - curve.miss)
    costs = {prior: curve.min_dcf(prior) for prior in priors}
    return Verification(float(area), *curve.eer(), costs, min_cllr(same, scores))
