"""The report's methods paragraph: what was computed and how, with the numbers filled in, to be used in a paper."""

from analysis.analyse import Analysis
from analysis.distances import PERMUTATIONS
from analysis.replicates import MIN_SEEDS


def methods(analysis: Analysis) -> tuple[str, ...]:
    """One paragraph on the data, one on cells, one on the whole matrix; what was not done is not told."""
    paper = analysis.profile == "paper"
    further = () if paper else (_cells(analysis), _whole(analysis))
    return tuple(paragraph for paragraph in (_data(analysis), *further) if paragraph)


def _data(analysis: Analysis) -> str:
    """Languages, seeds, N, task, metric."""
    cltm, plan = analysis.cltm, analysis.plan
    used = f"{int(cltm.used.sum())} of {cltm.n * (cltm.n - 1)} off-diagonal cells"
    if cltm.scores is None:
        return (f"The matrix of {cltm.n} languages was given as numbers, {used} of it; nothing is known of seeds, "
                "so there is no interval of any cell.")  # fmt: skip
    seeds = cltm.scores.seeds
    task = f" on the task {plan.task}" if plan.task else ""
    corpus = f" with data of {plan.corpus}" if plan.corpus else ""
    samples = f"N = {plan.samples} samples" if plan.samples is not None else "N samples"
    score = f"{cltm.metric}, an error rate e that enters as 1 \N{MINUS SIGN} e" if cltm.scores.inverted else cltm.metric
    return (
        f"Models were trained{task}{corpus} for {cltm.n} languages with {len(seeds)} "
        f"seed{'s' * (len(seeds) != 1)} each: on one block of {samples} of a target i, P(i); on two blocks of it, "
        "P(i+i); and on one block of the target and one of a donor j, P(i+j). The score P is "
        f"{score}. A cell is the ratio of mean gains r = (P(i+j) \N{MINUS SIGN} P(i)) / (P(i+i) \N{MINUS SIGN} P(i)). "
        f"{used} were used."
    )


def _cells(analysis: Analysis) -> str:
    """Intervals and tests of cells."""
    cltm = analysis.cltm
    if cltm.scores is None:
        return ""
    text = (
        "Intervals of r are Fieller's at 95 % over seeds, paired between the models compared; where the self-gain "
        "can't be told from 0, r is undefined and no aggregate uses it. Each gain was tested against 0 and against "
        "the target's self-gain by a moderated t-test (empirical Bayes variances), with the false discovery rate over "
        "cells held at 5 % (Benjamini-Hochberg)."
    )
    noise = analysis.noise
    if noise is None:
        return text + " No interval covers the choice of test speakers."
    return text + (f" The test set's own error comes from {noise.resamplings} bootstrap samples of its speakers, the "
                   "same for every model scored on a language.")  # fmt: skip


def _whole(analysis: Analysis) -> str:
    """Aggregates and structure."""
    cltm, found = analysis.cltm, analysis.findings
    parts = []
    seeds = len(cltm.scores.seeds) if cltm.scores else 0
    if any(value.beside.lower is not None for value in analysis.values):
        parts.append("Noise-corrected aggregates and their 95 % intervals come from the jackknife over "
                     f"{seeds} seeds, intervals of shares of cells from closed testing; the floor is what a "
                     "language-agnostic matrix with the same errors would show.")  # fmt: skip
    elif cltm.scores is not None and seeds < MIN_SEEDS:
        parts.append(f"Aggregates have no intervals: these take {MIN_SEEDS} seeds.")
    if any(value.beside.language_lower is not None for value in analysis.values):
        parts.append("Intervals over languages come from drawing languages with replacement.")
    if found and found.structure.parts:
        parts.append("Cells were split into mean, target, donor and residual by least squares"
                     + (", with delete-one-seed jackknife errors" if seeds >= MIN_SEEDS else "") + ".")  # fmt: skip
    tested = [one.name for one in found.distances if one.p is not None] if found else []
    if tested:
        parts.append(f"Residuals were correlated with distances between languages ({', '.join(tested)}) by Mantel "
                     f"tests with {PERMUTATIONS} permutations, Benjamini-Hochberg adjusted.")  # fmt: skip
    return " ".join(parts)
