"""Metrics of a test set under many resamplings of its speakers at once.

`RESAMPLED` maps a metric's name to a function of kept predictions and weights. A speaker drawn twice counts twice; a
pair of two speakers counts with the product of both (resampled are speakers, pairs follow), a pair of one speaker's
clips with that speaker's own weight. What is a pair's own is then counted up to three times in the variance: intervals
of pairs are never too narrow, and wide where the pairs of a speaker have little in common.

Shapes: K speakers, P items, B resamplings. Source of the pair weights: Owen 2007, "The pigeonhole bootstrap", who shows
that it is mildly conservative; Snijders & Borgatti 1999, "Non-parametric standard errors and tests for network
statistics".
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analysis.uncertainty import Floats

if TYPE_CHECKING:
    import pandas as pd

Weights = NDArray[np.float64]  # (B, K)
PAIRS_AT_ONCE = 4_000_000  # weights held at a time


def speakers_of(items: "pd.DataFrame") -> tuple[str, ...]:
    """The speakers of one language's predictions, sorted, each once: of clips, or of both sides of pairs."""
    columns = [items[name] for name in ("speaker", "left_speaker", "right_speaker") if name in items]
    return tuple(sorted({str(name) for column in columns for name in column.unique()}))


def _places(items: "pd.DataFrame", column: str) -> NDArray[np.intp]:
    """(P,) the place of each item's speaker in `speakers_of`."""
    import pandas as pd

    return pd.Index(speakers_of(items)).get_indexer(pd.Index(items[column]))


def macro_f1(items: "pd.DataFrame", weights: Weights) -> Floats:
    """(B,) macro-F1 of two genders. A class that is neither there nor guessed counts 0, as in `tasks.metrics`."""
    hits, guessed, true = _gender_counts(items, weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(guessed + true > 0, 2 * hits / (guessed + true), 0.0)
    return np.asarray(f1.mean(axis=1))


def accuracy(items: "pd.DataFrame", weights: Weights) -> Floats:
    """(B,) share of clips whose gender was guessed."""
    hits, _, true = _gender_counts(items, weights)
    return np.asarray(hits.sum(axis=1) / true.sum(axis=1))


def error_rate(items: "pd.DataFrame", weights: Weights, columns: tuple[str, str]) -> Floats:
    """(B,) errors a unit of the reference, all clips together; NaN where nothing but empty references was drawn.

    Args:
        items: the clips of one language.
        weights: of the speakers.
        columns: the clips' errors and units.
    """
    sums = _sums(items, items[list(columns)].to_numpy(dtype=np.float64), weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[:, 0] / sums[:, 1])


def bleu(items: "pd.DataFrame", weights: Weights) -> Floats:
    """(B,) BLEU of all sentences together, a fraction, from the counts that sacrebleu made of each."""
    from sacrebleu.metrics.bleu import BLEU

    sums = _sums(items, np.stack(items["bleu_counts"].to_list()).astype(np.float64), weights)
    values = []
    for guess, reference, *counts in sums.astype(int).tolist():  # as `tasks.translation.scoring` orders them
        values.append(BLEU.compute_bleu(counts[:4], counts[4:], guess, reference, smooth_method="exp").score / 100)
    return np.array(values)


def _sums(items: "pd.DataFrame", values: Floats, weights: Weights) -> Floats:
    """(B, C) sums of (P, C) values over items, each as often as its speaker is drawn."""
    of_speaker = np.zeros((weights.shape[1], values.shape[1]))
    np.add.at(of_speaker, _places(items, "speaker"), values)
    return np.asarray(weights @ of_speaker)


def _gender_counts(items: "pd.DataFrame", weights: Weights) -> tuple[Floats, Floats, Floats]:
    """Clips guessed right, guessed and true, (B, 2) each, by class: from counts a speaker, so that B costs little."""
    speaker = _places(items, "speaker")
    true = (items["gender"].to_numpy() == "male").astype(np.int64)
    # The task takes the first of two equal classes, and "female" comes first.
    guess = (items["probability_male"].to_numpy() > 0.5).astype(np.int64)
    count = np.zeros((weights.shape[1], 2, 2))  # speaker, true class, guessed class
    np.add.at(count, (speaker, true, guess), 1.0)
    total = np.einsum("bk,ktg->btg", weights, count)
    return np.diagonal(total, axis1=1, axis2=2), total.sum(axis=1), total.sum(axis=2)


def auc(items: "pd.DataFrame", weights: Weights) -> Floats:
    """(B,) area under the ROC curve of pairs, ties counted half; NaN where one kind of pair was not drawn."""
    return _of_pairs(items, weights, _auc_of)


def eer(items: "pd.DataFrame", weights: Weights) -> Floats:
    """(B,) where the linearly interpolated ROC curve has equal false accepts and rejects; NaN as in `auc`."""
    return _of_pairs(items, weights, _eer_of)


def _of_pairs(items: "pd.DataFrame", weights: Weights, measure: Callable[[Floats, Floats], Floats]) -> Floats:
    """Sorts the pairs by score, sums the weights of equal scores, and measures, in bounded memory.

    Args:
        items: the pairs of one language.
        weights: of the speakers.
        measure: from weights of same and of different pairs, (b, T) each, by falling score, to (b,) values.
    """
    order = np.argsort(-items["score"].to_numpy(), kind="stable")
    score, same = items["score"].to_numpy()[order], items["same"].to_numpy().astype(bool)[order]
    left, right = (_places(items, name)[order] for name in ("left_speaker", "right_speaker"))
    starts = np.flatnonzero(np.r_[True, score[1:] != score[:-1]])
    step = max(1, PAIRS_AT_ONCE // max(len(score), 1))
    found = []
    for begin in range(0, len(weights), step):
        part = weights[begin : begin + step]
        weight = np.where(left == right, part[:, left], part[:, left] * part[:, right])
        kinds = [weight * same, weight * ~same]
        if len(starts) < len(score):
            kinds = [np.add.reduceat(kind, starts, axis=1) for kind in kinds]
        found.append(measure(kinds[0], kinds[1]))
    return np.concatenate(found)


def _auc_of(same: Floats, other: Floats) -> Floats:
    """Area by the trapezoidal rule, which counts ties half."""
    hit = np.cumsum(same, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        area = (other * (hit - same / 2)).sum(axis=1)
        return np.asarray(area / same.sum(axis=1) / other.sum(axis=1))


def _eer_of(same: Floats, other: Floats) -> Floats:
    """Crossing of the ROC polygon with the line of equal errors."""
    zero = np.zeros((len(same), 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        hit, accept = (np.concatenate([zero, np.cumsum(w, axis=1)], axis=1) / w.sum(axis=1, keepdims=True)
                       for w in (same, other))  # fmt: skip
        excess = accept + hit - 1  # rises from -1 to 1
        after = np.clip((excess >= 0).argmax(axis=1), 1, None)[:, None]
        low, high = (np.take_along_axis(excess, place, axis=1)[:, 0] for place in (after - 1, after))
        one, other_side = (np.take_along_axis(accept, place, axis=1)[:, 0] for place in (after - 1, after))
        return np.asarray(one + (other_side - one) * np.where(high > low, -low / (high - low), 0.0))


RATES = {
    "error_rate": ("errors", "length"), "wer": ("word_errors", "words"), "cer": ("character_errors", "characters"),
}  # fmt: skip
RESAMPLED: dict[str, Callable[["pd.DataFrame", Weights], Floats]] = {
    "macro_f1": macro_f1, "accuracy": accuracy, "auc": auc, "eer": eer, "bleu": bleu,
    **{name: partial(error_rate, columns=columns) for name, columns in RATES.items()},
}  # fmt: skip
GENDERS, PAIRS = ("speaker", "gender", "probability_male"), ("left_speaker", "right_speaker", "same", "score")
NEEDED = {
    "macro_f1": GENDERS, "accuracy": GENDERS, "auc": PAIRS, "eer": PAIRS, "bleu": ("speaker", "bleu_counts"),
    **{name: ("speaker", *columns) for name, columns in RATES.items()},
}  # fmt: skip  # columns of the predictions
