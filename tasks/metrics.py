"""Measures of classification and verification, on numpy arrays. Fractions, never percent."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score, roc_curve


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


@dataclass(frozen=True)
class Verification:
    """Measures of a list of verification trials.

    Attributes:
        auc: area under the ROC curve, ties counted half. Source: sklearn.metrics.roc_auc_score.
        eer: where the linearly interpolated ROC curve has equal false accepts and false rejects.
        min_dcf: target prior -> normalised minimum detection cost with unit costs. Source: VoxSRC evaluation plans.
    """

    auc: float
    eer: float
    min_dcf: dict[float, float]


def verification(same: np.ndarray, scores: np.ndarray, priors: tuple[float, ...] = (0.01, 0.05)) -> Verification:
    """AUC, EER and minDCF of trials.

    Args:
        same: (N,) bool, whether both sides are one speaker. Both kinds must occur.
        scores: (N,) float, higher means more alike.
        priors: probabilities of a same-speaker trial for minDCF.
    """
    accept, hit, _ = roc_curve(same, scores, drop_intermediate=False)
    eer = brentq(lambda x: 1 - x - np.interp(x, accept, hit), 0.0, 1.0)
    costs = {prior: float(np.min(prior * (1 - hit) + (1 - prior) * accept) / min(prior, 1 - prior)) for prior in priors}
    return Verification(float(roc_auc_score(same, scores)), float(eer), costs)
