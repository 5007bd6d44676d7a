"""From a source to everything that is known of it, as one frozen value: `analyse(source) -> Analysis`."""

from dataclasses import dataclass
from pathlib import Path

from analysis.diagnostics import LanguageRow, Value, language_rows, summarise
from analysis.families import families_of
from analysis.matrix import CLTM, Status, from_scores, from_values
from analysis.matrix_csv import read_matrix
from analysis.scores import Hole, Plan, Provenance, holes, read_plan, read_scores, sha256_of
from grids.errors import UserError

FEW_SEEDS = 3
FEW_TEST_ITEMS = 200
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
    """

    cltm: CLTM
    plan: Plan
    provenance: Provenance
    holes: tuple[Hole, ...]
    values: tuple[Value, ...]
    rows: tuple[LanguageRow, ...]
    notes: tuple[str, ...]


def analyse(source: Path, families: Path | None = None, metric: str | None = None) -> Analysis:
    """Reads a results folder or a matrix CSV and computes everything.

    Args:
        source: a folder with `scores.parquet`, or a square CSV.
        families: a CSV (code, family) that replaces the language table.
        metric: another metric than the primary one; only for a folder.

    Raises:
        UserError: the source, the families file or the metric can't be used.
    """
    if source.is_dir():
        cltm, plan, provenance, missing = _from_folder(source, families, metric)
    elif source.suffix == ".parquet":
        raise UserError(f"{str(source)!r} is a file of scores; give its folder, which also holds the grid")
    elif source.is_file():
        if metric is not None:
            raise UserError(f"--metric {metric} needs a results folder; {source} is a bare matrix of one metric")
        cltm, plan, provenance, missing = _from_csv(source, families)
    else:
        raise UserError(f"{str(source)!r} does not exist; give a results folder or a square matrix CSV")
    values, rows = summarise(cltm), language_rows(cltm)
    notes = _notes(cltm, plan, provenance, missing)
    return Analysis(cltm, plan, provenance, missing, values, rows, notes)


def _from_folder(
    folder: Path, families: Path | None, metric: str | None
) -> tuple[CLTM, Plan, Provenance, tuple[Hole, ...]]:
    """A results folder."""
    plan = read_plan(folder)
    scores, provenance = read_scores(folder, plan, metric)
    cltm = from_scores(scores, families_of(scores.languages, families))
    return cltm, plan, provenance, holes(scores, plan)


def _from_csv(path: Path, families: Path | None) -> tuple[CLTM, Plan, Provenance, tuple[Hole, ...]]:
    """A bare matrix."""
    languages, values = read_matrix(path)
    cltm = from_values(languages, values, families_of(languages, families))
    provenance = Provenance(source=path, file=path.name, sha256=sha256_of(path))
    return cltm, Plan(name=path.stem, matrix=False), provenance, ()


def _notes(cltm: CLTM, plan: Plan, provenance: Provenance, missing: tuple[Hole, ...]) -> tuple[str, ...]:
    """What a reader of the numbers must know, in the order of weight."""
    return (*_cell_notes(cltm), *_seed_notes(cltm, plan, missing), *_source_notes(cltm, provenance))


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
        notes.append(f"{cltm.count(Status.UNDETERMINED)} cells have fewer than two seeds: no interval can be known.")
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


def _source_notes(cltm: CLTM, provenance: Provenance) -> list[str]:
    """Mixed configurations, small test sets, unknown families."""
    notes = []
    for what, found in (("configurations", provenance.config_sha), ("code versions", provenance.code_version)):
        if len(found) > 1:
            notes.append(f"The scores come from {len(found)} {what} ({_names(found)}).")
    if provenance.n_test and provenance.n_test[0] < FEW_TEST_ITEMS:
        notes.append(f"The smallest test set has {provenance.n_test[0]} items; its own noise is not in the intervals.")
    unknown = [code for code, family in zip(cltm.languages, cltm.families, strict=True) if not family]
    if unknown:
        notes.append(f"Family unknown, counted as a family of its own: {_names(unknown)}.")
    return notes


def _names(names: list[str] | tuple[str, ...]) -> str:
    """The first names, and how many more there are."""
    more = len(names) - NAMES_IN_A_NOTE
    return ", ".join(names[:NAMES_IN_A_NOTE]) + (f" and {more} more" if more > 0 else "")
