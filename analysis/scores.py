"""Scores of one metric as arrays, one axis a seed, and what a reader must know of where they come from.

`analysis.folders`, `analysis.scores_csv` and `analysis.sources` read them. Every finished seed is used, whether the
grid still lists it or not, and none is filled in: what a grid expects and the source lacks is a `Hole`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.uncertainty import Floats, Ints
from grids.mixture import MATRIX_ROLES
from grids.seeds import Seeds

if TYPE_CHECKING:
    import pandas as pd

LARGEST = 1e30  # of a value; fourth powers, and sums of them, stay finite


@dataclass(frozen=True)
class Hole:
    """A score that the grid expects and the folder does not have.

    Attributes:
        role: "base", "self" or "cross".
        target: the language scored.
        donor: the language added; the target itself for "self", "" for "base".
        seed: the draw.
    """

    role: str
    target: str
    donor: str
    seed: int


@dataclass(frozen=True)
class Exclusion:
    """A language left out by the grid, before any score was there."""

    language: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """What the grid file says; empty or None where it says nothing (or where there is no grid file).

    Attributes:
        languages: the matrix's languages, without the excluded ones.
        draws: the seeds of bases, self runs and pairs.
        samples: N, samples of a block.
        matrix: False if the grid lists mixtures of its own instead of a matrix's, so that no cell is expected.
        curve: the grid is a learning curve, for `analysis.interval`.
        sizes: its block sizes.
    """

    name: str
    task: str = ""
    corpus: str = ""
    blocks: str = ""
    evaluate: str = ""
    samples: int | None = None
    languages: tuple[str, ...] = ()
    draws: Seeds = field(default_factory=Seeds)
    exclude: tuple[Exclusion, ...] = ()
    matrix: bool = True
    curve: bool = False
    sizes: tuple[int, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Every seed of the grid."""
        return self.draws.all


@dataclass(frozen=True)
class Part:
    """One of several sources that were merged: its folder or file, and the SHA-256 of the file with the numbers."""

    source: Path
    sha256: str


@dataclass(frozen=True)
class Provenance:
    """Where numbers come from.

    Attributes:
        source: the folder or file that was read; the first of several.
        file: name of the file that holds the numbers.
        sha256: of that file; of the hashes of all parts where there are several.
        condition: under which the scores were measured; "": the plain test set.
        parts: every folder or file that was read.
        config_sha, data_sha, code_version, device: the values found in it, sorted.
        n_train, n_test: smallest and largest size found, or None.
    """

    source: Path
    file: str
    sha256: str
    config_sha: tuple[str, ...] = ()
    data_sha: tuple[str, ...] = ()
    code_version: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    n_train: tuple[int, int] | None = None
    n_test: tuple[int, int] | None = None
    parts: tuple[Part, ...] = ()
    condition: str = ""


@dataclass(frozen=True, eq=False)
class Scores:
    """Scores of one metric, higher is better (an error rate e is held as 1 - e); NaN where there is none.

    Attributes:
        languages: L codes, in the grid's order.
        seeds: S draws, ascending.
        metric: its name in the file.
        inverted: the values are 1 - e.
        base: (L, S) P(i).
        self_: (L, S) P(i+i).
        cross: (L, L, S) P(i+j); the diagonal is NaN.
    """

    languages: tuple[str, ...]
    seeds: tuple[int, ...]
    metric: str
    inverted: bool
    base: Floats
    self_: Floats
    cross: Floats


@dataclass(frozen=True, eq=False)
class GivenMatrix:
    """A matrix of r that somebody published: (L, L) values, rows targets, columns donors, NaN where a cell is empty."""

    languages: tuple[str, ...]
    values: Floats


@dataclass(frozen=True, eq=False)
class RawMatrix:
    """Values of (target, donor) that nothing can normalise, because there is no self-gain. It is never made into r.

    Attributes:
        languages: L codes.
        seeds: S draws, ascending.
        metric: its name in the file.
        inverted: the values are made of 1 - e.
        gains: values are P(i+j) - P(i), the diagonal unknown; otherwise they are scores of i with j.
        by_seed: (L, L, S) the values, paired inside a seed; NaN where there is none.
    """

    languages: tuple[str, ...]
    seeds: tuple[int, ...]
    metric: str
    inverted: bool
    gains: bool
    by_seed: Floats

    @cached_property
    def count(self) -> Ints:
        """(L, L) seeds of each cell."""
        count: Ints = np.isfinite(self.by_seed).sum(axis=-1)
        return count

    @cached_property
    def values(self) -> Floats:
        """(L, L) mean over seeds; NaN where it is not known."""
        return np.where(self.count > 0, np.nansum(self.by_seed, axis=-1) / np.maximum(self.count, 1), np.nan)

    @cached_property
    def se(self) -> Floats:
        """(L, L) standard error of the mean; NaN with fewer than two seeds."""
        squares = np.nansum((self.by_seed - self.values[..., None]) ** 2, axis=-1)
        several = np.maximum(self.count, 2)
        return np.where(self.count > 1, np.sqrt(squares / (several - 1) / several), np.nan)


@dataclass(frozen=True, eq=False)
class Source:
    """What was read: scores over seeds, a given matrix or raw values, and what is known beside them.

    Attributes:
        content: the scores.
        plan: what the grid says.
        provenance: files and hashes.
        holes: scores that the grid expects and that are not there.
        untouched: language -> score of the model without training, mean over seeds, where a grid asked for it.
    """

    content: Scores | GivenMatrix | RawMatrix
    plan: Plan
    provenance: Provenance
    holes: tuple[Hole, ...] = ()
    untouched: Mapping[str, float] = field(default_factory=dict)


def scores_from(frame: "pd.DataFrame", codes: tuple[str, ...], seeds: tuple[int, ...], inverted: bool) -> Scores:
    """Puts each row's value at its place.

    Args:
        frame: columns role, language, donor, seed, metric and value; every place at most once.
        codes: the languages, which hold all of the frame's.
        seeds: ascending, all of the frame's.
        inverted: values are error rates e, held as 1 - e.
    """
    place: Mapping[str, int] = {code: position for position, code in enumerate(codes)}
    n, s = len(codes), len(seeds)
    arrays = {"base": np.full((n, s), np.nan), "self": np.full((n, s), np.nan), "cross": np.full((n, n, s), np.nan)}
    value = frame["value"].to_numpy(dtype=np.float64)
    value = 1 - value if inverted else value
    target = frame["language"].map(place).to_numpy(dtype=np.int64)
    donor = frame["donor"].map(place).fillna(0).to_numpy(dtype=np.int64)
    seed = np.searchsorted(seeds, frame["seed"].to_numpy())
    for role in MATRIX_ROLES:
        row = (frame["role"] == role).to_numpy()
        at: Any = (target[row], donor[row], seed[row]) if role == "cross" else (target[row], seed[row])
        arrays[role][at] = value[row]
    return Scores(codes, seeds, str(frame["metric"].iloc[0]), inverted, arrays["base"], arrays["self"], arrays["cross"])


def holes(scores: Scores, plan: Plan) -> tuple[Hole, ...]:
    """Every score that the plan's languages and seeds (without any: those found) call for and that is not there."""
    if not plan.matrix or not plan.languages:
        return ()
    found = Seeds(scores.seeds, scores.seeds, scores.seeds)
    return tuple(_holes(scores, plan.draws if plan.seeds else found))


def _holes(scores: Scores, draws: Seeds) -> Iterator[Hole]:
    """The holes, base and self first, in the order of languages and seeds."""
    column = {seed: position for position, seed in enumerate(scores.seeds)}
    absent = np.full_like(scores.cross[..., :1], np.nan)  # where a seed outside `scores.seeds` points to
    cross = np.concatenate([scores.cross, absent], axis=-1)
    for role, values, seeds in (("base", scores.base, draws.base), ("self", scores.self_, draws.self_)):
        padded = np.concatenate([values, absent[:, 0]], axis=-1)
        for i, code in enumerate(scores.languages):
            donor = code if role == "self" else ""
            yield from (Hole(role, code, donor, s) for s in seeds if np.isnan(padded[i, column.get(s, -1)]))
    wanted = [column.get(seed, -1) for seed in draws.cross]
    for i, j, s in np.argwhere(np.isnan(cross[..., wanted])):
        if i != j:
            yield Hole("cross", scores.languages[i], scores.languages[j], draws.cross[s])
