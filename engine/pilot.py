"""A pilot: three cells of a grid are trained, and what they say of the rest is put into lines.

The cells are trials of the grid and count as such. What so few trials can't tell is said to be unknown. Not covered:
noise of the test sets, which more seeds don't lower.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from engine.cost import Audio, Estimate, Sharing, at_once, estimate
from engine.job import Job
from engine.plan import Plan, Selection
from engine.power import (
    EFFECTIVE,
    POWER,
    Counts,
    Floats,
    Noise,
    best_counts,
    cell_variance,
    equal_counts,
    noise,
    smallest_gain,
)
from engine.store import Result
from grids.errors import UserError
from grids.grid import Grid
from grids.machine import CONTEXT_BYTES
from grids.mixture import MATRIX_ROLES

LANGUAGES, SEEDS = 3, 4  # three cells; four seeds give a correlation nine degrees of freedom
GUESSED_R = 0.5  # where the pilot's self-gains can't be told from 0
MARGIN = 1.25  # other languages have longer clips
CLEAR = 2.0  # standard errors of a self-gain above 0
ROWS = (slice(0, 1), slice(1, 2), slice(2, None))  # of bases, self runs and pairs in a target's scores
Row = tuple[str, str]


def pilot_part(grid: Grid, asked: Selection) -> Selection:
    """The part of the grid that a pilot trains.

    Args:
        grid: a matrix grid.
        asked: languages and seeds that the user wants, in place of three spread over the list and the first four.

    Raises:
        UserError: the grid is no matrix, or one or several kinds of trials are asked for.
    """
    if grid.mode != "matrix" or len(grid.languages) < 2:
        raise UserError(f"a pilot needs mode = 'matrix' and two languages; got {grid.mode!r}, {len(grid.languages)}")
    if asked.kinds:
        raise UserError(f"a pilot trains bases, self runs and pairs; leave out --only {','.join(asked.kinds)}")
    last, count = len(grid.languages) - 1, min(LANGUAGES, len(grid.languages))
    spread = tuple(grid.languages[round(n * last / (count - 1))] for n in range(count))
    paired = tuple(seed for seed in grid.seeds.cross if seed in grid.seeds.self_)
    return Selection(asked.languages or spread, asked.seeds or (paired or grid.seeds.all)[:SEEDS], MATRIX_ROLES)


def pilot_rows(job: Job, part: Selection, rest: Plan) -> list[Row]:
    """What the pilot's finished trials say, a line each.

    Args:
        job: settled.
        part: what `pilot_part` gave.
        rest: what the whole grid still lacks.
    """
    trials = [trial for trial in job.grid.trials() if part.holds(trial, job.grid.samples)]
    results = [result for trial in trials if (result := job.store.read(trial)) is not None]
    seeds = " ".join(map(str, part.seeds))
    found = f"{len(results)} of {len(trials)} trials: {' '.join(part.languages)}; seeds {seeds}"
    needed = estimate(job, Audio(job), rest.pending)
    disk = ("disk", _disk(job, results, len(rest.pending)))
    return [("pilot", found), *time_rows(job, needed), disk, *_memory(results), *seed_rows(job.grid, results)]


def time_rows(job: Job, needed: Estimate | None) -> list[Row]:
    """How long what is pending takes, by phase and on this machine."""
    if needed is None:
        return [("time", "unknown: no trial has finished here")]
    resources = job.grid.resources
    workers, fit = resources.workers_per_trial, at_once(job)
    measured, asked = needed.sharing.gpus, resources.gpus
    gpus = workers * (asked if measured is None else measured)
    cores = workers * resources.cpus_per_trial
    devices = f"{_span(needed, gpus)} GPU-hours" if gpus else f"{_span(needed, cores)} core-hours"
    here = f"{_span(needed, 1 / fit)} hours on this machine, {fit} at once" if fit else "no trial fits this machine"
    if measured not in (None, asked):
        here = f"measured with {_a_gpu(measured)}, the grid asks for {_a_gpu(asked)}: unknown how that changes it"
    shared = f", {_shared(needed.sharing)}" if measured != 0 else ""
    why = f"from {needed.trials} finished trials on {needed.device}{shared}; start-up and tracking come on top"
    total = needed.hours or 1.0
    shares = sorted(needed.phases.items(), key=lambda item: -item[1])
    phases = ", ".join(f"{name} {hours:.3g} h ({hours / total:.0%})" for name, hours in shares)
    return [("time", f"{devices}; {here}; {why}"), ("phases", f"{phases}, summed over trials")]


def _shared(sharing: Sharing) -> str:
    """How many trials shared a GPU when they were measured."""
    if sharing.gpus is None:
        return "how many shared a GPU is unknown"
    return _a_gpu(sharing.gpus) + ("" if sharing.how == Sharing.how else f" ({sharing.how})")


def _a_gpu(gpus: float) -> str:
    """How many trials share a GPU."""
    if gpus > 1:
        return f"{gpus:g} GPUs a trial"
    return f"{int(1 / gpus)} trial{'s' if gpus <= 0.5 else ''} a GPU" if gpus else "no GPU"


def _span(needed: Estimate, factor: float) -> str:
    """Hours with their range, times a factor."""
    if needed.low is None or needed.high is None:
        return f"{needed.hours * factor:.3g} (range unknown)"
    return f"{needed.hours * factor:.3g} ({needed.low * factor:.3g} to {needed.high * factor:.3g})"


def _disk(job: Job, results: Sequence[Result], pending: int) -> str:
    """What the rest will leave, from the files that the pilot's trials left."""
    if not results:
        return "unknown: no trial has finished here"
    slugs = {result.trial.slug for result in results}
    left = sum(path.stat().st_size for path in job.results.rglob("*") if path.stem in slugs)
    return f"{left / len(results) * pending / 1e6:.1f} MB for the results of what is left"


def _memory(results: Sequence[Result]) -> list[Row]:
    """How many trials a GPU can hold, where one was used and its memory recorded."""
    peak = max((one.peak_bytes for result in results for one in result.passes), default=0)
    if not peak:
        return []
    import torch

    if not torch.cuda.is_available():
        return [("GPU memory", f"{peak / 1e9:.1f} GB a trial at most; gpus_per_trial is unknown: no GPU is here")]
    whole = torch.cuda.get_device_properties(0).total_memory
    return [("GPU memory", f"{peak / 1e9:.1f} GB of {whole / 1e9:.0f} GB a trial at most; {gpu_advice(peak, whole)}")]


def gpu_advice(peak: int, whole: int) -> str:
    """The `gpus_per_trial` that a trial's memory allows, both in bytes."""
    fit = int(whole / (peak * MARGIN + CONTEXT_BYTES))
    return f"by memory gpus_per_trial = {int(1e4 / fit) / 1e4:g}: {fit} trials a GPU" if fit else "it may not fit a GPU"


def seed_rows(grid: Grid, results: Sequence[Result]) -> list[Row]:
    """How scores vary over seeds, what effects the grid's seeds can call, and how to divide its trainings."""
    targets = _targets(grid, results)
    found = noise(targets)
    if found is None:
        return [("seeds", "unknown: their spread needs two seeds of every trial of a target, and scores that vary")]
    seeds, languages = grid.seeds, len(grid.languages)
    counts = Counts(len(seeds.base), len(seeds.self_), len(seeds.cross))
    sds = ", ".join(f"{kind} {_pooled_sd(targets, rows):.4f}" for kind, rows in zip(MATRIX_ROLES, ROWS, strict=True))
    interval = f"{found.correlation:.2f} ({found.low:.2f} to {found.high:.2f})"
    return [
        ("seeds' spread", f"sd {found.sd:.4f} of a score ({sds}); correlation of one seed's scores {interval}"),
        ("smallest effect", _effect(found, targets, counts, languages)),
        ("seeds", _advice(found, targets, counts, languages)),
    ]


def _targets(grid: Grid, results: Sequence[Result]) -> list[Floats]:
    """Higher-is-better scores of each target that has them all: (base, self, a donor each; the seeds that all have)."""
    values: dict[str, dict[tuple[int, str], dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in (row for result in results for row in result.rows(grid.samples)):
        if row["primary"] and not row["condition"] and row["role"] in MATRIX_ROLES:
            value = row["value"] if row["higher_is_better"] else 1 - row["value"]
            values[row["language"]][MATRIX_ROLES.index(row["role"]), row["donor"]][row["seed"]] = value
    most = max((len(conditions) for conditions in values.values()), default=0)
    targets = []
    for conditions in (dict(sorted(each.items())) for each in values.values()):
        shared = sorted(set.intersection(*(set(by_seed) for by_seed in conditions.values())))
        if len(conditions) == most > 2 and len(shared) > 1:
            targets.append(np.array([[by_seed[seed] for seed in shared] for by_seed in conditions.values()]))
    return targets


def _pooled_sd(targets: Sequence[Floats], rows: slice) -> float:
    """Standard deviation over seeds of some conditions, pooled over targets."""
    weights = [one.shape[1] - 1 for one in targets]
    return float(np.sqrt(np.average([one[rows].var(axis=1, ddof=1).mean() for one in targets], weights=weights)))


def _gain_se(found: Noise, seeds: int) -> float:
    """Standard error of one target's self-gain."""
    return found.sd * float(np.sqrt(2 * (1 - found.correlation) / seeds))


def _effect(found: Noise, targets: Sequence[Floats], counts: Counts, languages: int) -> str:
    """The smallest gain that the grid's seeds call, and as r where the self-gain is known."""
    gains = [smallest_gain(found.sd, rho, counts, languages) for rho in (found.correlation, found.low, found.high)]
    if gains[0] is None:
        return "none: bases and pairs need two seeds"
    low, high = sorted((gains[1] or 0.0, gains[2] or 0.0))
    self_gain = float(np.mean([one[1].mean() - one[0].mean() for one in targets]))
    error = float(np.sqrt(sum(_gain_se(found, one.shape[1]) ** 2 for one in targets))) / len(targets)
    clear = self_gain > CLEAR * error
    gain = f"self-gain {self_gain:.4f} ± {CLEAR * error:.4f}"
    as_r = f"r = {gains[0] / self_gain:.2f} at the pilot's {gain}" if clear else f"r unknown: the pilot's {gain}"
    return (
        f"a gain of {gains[0]:.4f} ({low:.4f} to {high:.4f}) is called with {POWER:.0%} power; {as_r}. Simplified: "
        f"equal variances; {EFFECTIVE:.0%} of the cells have it"
    )


def _advice(found: Noise, targets: Sequence[Floats], counts: Counts, languages: int) -> str:
    """Equal paired seeds against fewer seeds for pairs, at the grid's number of trainings."""
    r, trainings = _transfers(found, targets), counts.trainings(languages)
    where = "at the pilot's r" if r.size else f"at r = {GUESSED_R}, the pilot's own being unclear"
    r = r if r.size else np.array([GUESSED_R])
    equal, best = equal_counts(languages, trainings), best_counts(found.correlation, r, languages, trainings)
    if best == equal:
        return f"recommended: {equal}; no division of {trainings} trainings gives a smaller median variance {where}"
    middle, *ends = (
        cell_variance(rho, r, best) / cell_variance(rho, r, equal) for rho in (found.correlation, found.low, found.high)
    )
    gain = f"the median variance of a cell is {middle:.2f} ({min(ends):.2f} to {max(ends):.2f})"
    against = f"with {best}, {gain} times that with {equal}, {where}, both {trainings} trainings or fewer"
    sure = max(ends) < 1
    return f"recommended: {best if sure else equal}; {against}{'' if sure else ', so the pilot cannot tell'}"


def _transfers(found: Noise, targets: Sequence[Floats]) -> Floats:
    """The pilot's r, of targets whose self-gain is clear."""
    known = [np.array([])]
    for scores in targets:
        base, own, *cross = scores.mean(axis=1)
        if own - base > CLEAR * _gain_se(found, scores.shape[1]):
            known.append((np.array(cross) - base) / (own - base))
    return np.concatenate(known)
