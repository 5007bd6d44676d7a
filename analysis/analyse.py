"""From a source to everything that is known of it, as one frozen value: `analyse(source) -> Analysis`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.beside import evidence
from analysis.diagnostics import LanguageRow, Value, language_rows
from analysis.families import families_of
from analysis.findings import Findings
from analysis.inference import CellTests
from analysis.item_noise import ItemNoise, item_noise
from analysis.matrix import CLTM, Status, from_scores, from_values
from analysis.metrics import Measured
from analysis.scores import Hole, Plan, Provenance, RawMatrix, Scores, Source
from analysis.sources import read_source
from analysis.summary import Profile, summary
from analysis.view import View, view
from grids.errors import UserError

FEW_SEEDS = 3
FEW_TEST_ITEMS = 200
WEAK_GAIN = 10  # standard errors
WEAK_COVERAGE = "88 to 94 %"  # of true self-gains of 2 to 4 standard errors; tests/analysis/test_notes.py
NAMES_IN_A_NOTE = 12


@dataclass(frozen=True, eq=False)
class Analysis:
    """A matrix, its aggregates, and what a reader must know beside them.

    Attributes:
        cltm: the matrix.
        plan: what the grid says; for a bare matrix only a name.
        provenance: files and hashes.
        holes: scores that the grid expects and that are not there.
        values: the aggregates.
        rows: one a language.
        notes: warnings, one sentence each.
        view: which languages figures and tables show, in which order.
        noise: the test set's part of the errors; None where no predictions were kept.
        profile: "paper" if nothing but the published definitions was asked for.
        tests: of every cell; None for a bare matrix and in the profile "paper".
        findings: decomposition, distance tests and graph; None where nobody asked.
        metrics: every metric of the same scores, this one too; none where nobody asked.
    """

    cltm: CLTM
    plan: Plan
    provenance: Provenance
    holes: tuple[Hole, ...]
    values: tuple[Value, ...]
    rows: tuple[LanguageRow, ...]
    notes: tuple[str, ...]
    view: View
    noise: ItemNoise | None = None
    profile: Profile = "recommended"
    tests: CellTests | None = None
    findings: Findings | None = None
    metrics: tuple[Measured, ...] = ()


def analyse(source: Path | Sequence[Path], families: Path | None = None, metric: str | None = None) -> Analysis:
    """Reads a source and computes everything.

    Args:
        source: what `analysis.sources.read_source` takes: results folders, a scores CSV or a square matrix CSV.
        families: a CSV (code, family) that replaces the language table.
        metric: another metric than the primary one; not for a bare matrix.

    Raises:
        UserError: the source, the families file or the metric can't be used; the source has no self-gain.
    """
    paths = (source,) if isinstance(source, Path) else tuple(source)
    return analyse_source(read_source(paths, metric), families)


def analyse_source(
    source: Source,
    families: Path | None = None,
    test_noise: bool = True,
    profile: Profile = "recommended",
    language_draws: int = 0,
) -> Analysis:
    """Computes everything of what was read.

    Args:
        source: what `analysis.sources.read_source` gave.
        families: a CSV (code, family) that replaces the language table.
        test_noise: resample the test sets whose predictions were kept.
        profile: "paper" for the published definitions alone.
        language_draws: samples of languages for intervals over languages; 0 for none.

    Raises:
        UserError: the families file can't be used; the source has no self-gain (`analysis.raw` summarises it).
    """
    content = source.content
    if isinstance(content, RawMatrix):
        raise UserError("there is no self-gain in the source, so there is no normalised matrix; use analysis.raw")
    known = families_of(content.languages, families)
    if isinstance(content, Scores):
        cltm = from_scores(content, known)
    else:
        cltm = from_values(content.languages, content.values, known)
    noise = item_noise(source) if test_noise and profile == "recommended" else None
    found = evidence(cltm) if profile == "recommended" else None
    return Analysis(
        cltm, source.plan, source.provenance, source.holes,
        values=summary(cltm, profile, found, language_draws), rows=language_rows(cltm, source.untouched),
        notes=_notes(cltm, source, noise), view=view(cltm.languages, known), noise=noise,
        profile=profile, tests=found.tests if found else None,
    )  # fmt: skip


def _notes(cltm: CLTM, source: Source, noise: ItemNoise | None) -> tuple[str, ...]:
    """What a reader of the numbers must know, in the order of weight."""
    seeds = _seed_notes(cltm, source.plan, source.holes)
    return (*_cell_notes(cltm), *seeds, *_weak_notes(cltm), *_source_notes(cltm, source.provenance, noise))


def _cell_notes(cltm: CLTM) -> list[str]:
    """Which cells are kept out, and whose fault that is."""
    notes = []
    kinds = (
        (Status.UNDEFINED, "the target's own gain can't be told from 0"),
        (Status.NEGATIVE, "more of its own data hurts the target"),
    )
    for status, why in kinds:
        targets = [code for i, code in enumerate(cltm.languages) if cltm.status[i, i] == status]
        if cltm.count(status):
            where = f" (targets {_names(targets)})" if targets else ""
            what = f"{cltm.count(status)} cells are {status.value.replace('_', ' ')}"
            notes.append(f"{what}: {why}{where}; no aggregate uses them.")
    if cltm.count(Status.MISSING):
        notes.append(f"{cltm.count(Status.MISSING)} cells are missing; no aggregate uses them.")
    if cltm.count(Status.UNDETERMINED):
        notes.append(f"{cltm.count(Status.UNDETERMINED)} cells have fewer than two seeds: no error can be known.")
    if cltm.moments.clipped.any():
        count = int((cltm.moments.clipped & cltm.off_diagonal).sum())
        notes.append(f"In {count} cells with unequal seeds the covariance was replaced by the nearest possible one.")
    return notes


def _seed_notes(cltm: CLTM, plan: Plan, missing: tuple[Hole, ...]) -> list[str]:
    """Holes, few seeds, seeds that the grid does not list."""
    notes = []
    if missing:
        notes.append(f"{len(missing)} scores that the grid expects are not there (holes.csv); none was filled in.")
    if cltm.scores is None:
        notes.append("A bare matrix: nothing is known of seeds, errors or self-gains, so no cell has an interval.")
        return notes
    if len(cltm.scores.seeds) < FEW_SEEDS:
        count = len(cltm.scores.seeds)
        notes.append(f"Only {count} seed{'s' * (count != 1)}: fewer than {FEW_SEEDS} give wide intervals, or none.")
    further = [str(seed) for seed in cltm.scores.seeds if seed not in plan.seeds]
    if plan.seeds and further:
        notes.append(f"Seeds {_names(further)} are finished but not in the grid; they are used.")
    return notes


def _weak_notes(cltm: CLTM) -> list[str]:
    """Rows whose intervals are defined and yet too narrow: few seeds, and a self-gain that is not far from 0."""
    if cltm.scores is None or len(cltm.scores.seeds) > FEW_SEEDS:
        return []
    own = np.diag(cltm.moments.s_yy)
    weak = (np.diag(cltm.status) == Status.DEFINED) & (cltm.self_gain < WEAK_GAIN * np.sqrt(own))
    if not weak.any():
        return []
    targets = _names([code for code, one in zip(cltm.languages, weak, strict=True) if one])
    return [f"{len(cltm.scores.seeds)} seeds and a self-gain below {WEAK_GAIN} of its standard errors (targets "
            f"{targets}): simulated, such intervals cover {WEAK_COVERAGE}, not 95 %."]  # fmt: skip


def _source_notes(cltm: CLTM, provenance: Provenance, noise: ItemNoise | None) -> list[str]:
    """Mixed configurations, small test sets, unknown families."""
    notes = []
    for what, found in (("configurations", provenance.config_sha), ("code versions", provenance.code_version)):
        if len(found) > 1:
            notes.append(f"The scores come from {len(found)} {what} ({_names(found)}).")
    if provenance.n_test and 0 < provenance.n_test[0] < FEW_TEST_ITEMS:  # 0: the score rests on no items
        kept = int((noise.speakers > 0).sum()) if noise else 0
        beside = f", but beside them, from the predictions kept of {kept} of {cltm.n} languages" if kept else ""
        smallest = f"The smallest test set has {provenance.n_test[0]} items"
        notes.append(f"{smallest}; its own noise is not in the intervals over seeds{beside}.")
    unknown = [code for code, family in zip(cltm.languages, cltm.families, strict=True) if not family]
    if unknown:
        notes.append(f"Family unknown, counted as a family of its own: {_names(unknown)}. A line in "
                     "grids/languages.toml, or a CSV for --families, tells it.")  # fmt: skip
    return notes


def _names(names: list[str] | tuple[str, ...]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMES_IN_A_NOTE
    return ", ".join(names[:NAMES_IN_A_NOTE]) + (f" and {more} more" if more > 0 else "")
