"""Do languages that lie close together help each other? Distances of test-clip embeddings against r: the command.

    python -m analysis.geometry results/demo

Needs kept embeddings (`keep = ["embeddings"]` in the grid). Written are `geometry.json`, a table of the pairs, square
distance CSVs (which `python -m analysis.cltm --distance name=file` takes), the figure and one page.
`analysis.centroids` says how distances are made. Not covered: distances between single clips of different languages.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grids.errors import UserError, one_line_errors
from grids.files import writing_to
from grids.mixture import ROLES

if TYPE_CHECKING:
    from analysis.centroids import Cloud, Geometry, Model, RankTest
    from analysis.matrix import CLTM
    from analysis.scores import Plan, Provenance


@dataclass(frozen=True, eq=False)
class Found:
    """Distances, and the matrix that they are compared with.

    Attributes:
        geometry: the distances.
        cltm: the matrix; None where the folder has none.
        tests: Spearman's correlations; none without a matrix.
        plan: what the grid says.
        provenance: files and hashes.
        notes: warnings, one sentence each.
    """

    geometry: "Geometry"
    cltm: "CLTM | None"
    tests: tuple["RankTest", ...]
    plan: "Plan"
    provenance: "Provenance"
    notes: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status (0, or 2 after a user's mistake)."""
    options = parser().parse_args(arguments)
    return one_line_errors(lambda: _run(options))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m analysis.geometry", description="Distances between languages' embeddings, against transfer."
    )
    parser.add_argument("source", type=Path, metavar="RESULTS", nargs="+", help="results folders of one grid")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write; default: RESULTS/geometry")
    parser.add_argument("--metric", metavar="NAME", help="another metric than the primary one")
    parser.add_argument("--models", choices=("auto", "common", "pair"), default="auto",
                        help="models that embed every language, or those of the two languages alone; auto: common "
                             "ones if there are any")  # fmt: skip
    return parser


def _run(options: argparse.Namespace) -> int:
    """Computes, writes, and prints the correlations."""
    from analysis.geometry_output import correlation_text, write_geometry
    from analysis.recipe import record

    found = compute(options)
    out = options.out or options.source[0] / "geometry"
    with writing_to(out):
        paths = write_geometry(found, out)
        record(parser(), options, out, paths)
    lines = [*(correlation_text(test) for test in found.tests), *(f"note: {note}" for note in found.notes)]
    print("\n".join([*lines, f"written to {out}: {', '.join(path.name for path in paths)}"]))  # noqa: T201
    return 0


def compute(options: argparse.Namespace) -> Found:
    """What the options ask for."""
    return find(options.source, options.metric, options.models)


def write_tables(found: Found, out: Path) -> tuple[Path, ...]:
    """Writes the tables alone into `out`, which exists, and returns their paths."""
    from analysis import geometry_output

    return geometry_output.write_tables(found, out)


def find(folders: Sequence[Path], metric: str | None = None, models: str = "auto") -> Found:
    """Reads kept embeddings and scores.

    Raises:
        UserError: nothing was kept, no model embeds two languages, or the folders can't be read.
    """
    from analysis import folders as reading
    from analysis.centroids import choose_models, geometry, rank_test
    from analysis.merge import check_one_experiment, merged_plan

    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{str(folder)!r} is no results folder")
    plans = [reading.read_plan(folder) for folder in folders]
    check_one_experiment(folders, plans)
    plan = merged_plan(plans)
    frame = reading.read_rows(folders, plan, ROLES, conditions=True)
    kept, strays = kept_models(folders, frame)
    languages = plan.languages or tuple(sorted(frame["language"].unique()))
    embedded = {model: frozenset(_languages(model.path)) for model in kept}
    chosen = choose_models(kept, embedded.__getitem__, languages) if models == "auto" else models
    result = geometry(languages, _clouds(kept), chosen)  # type: ignore[arg-type]
    if not result.seeds:
        wanted = 'embeds all languages (evaluate = "all")' if chosen == "common" else "of two languages embeds both"
        raise UserError(f"no kept model {wanted}, so there is no distance; models: {chosen}")
    cltm, notes = _matrix(folders, metric, plan)
    kinds = (("euclidean", result.euclidean), ("cosine", result.cosine))
    tests = () if cltm is None else tuple(rank_test(name, values, cltm.values) for name, values in kinds)
    if strays:
        notes = (*notes, f"{strays} files of embeddings belong to no finished trial; they are not used.")
    return Found(result, cltm, tests, plan, reading.provenance_of(frame, folders), notes)


def kept_models(folders: Sequence[Path], frame: "object") -> tuple[tuple["Model", ...], int]:
    """The models with kept embeddings, and the number of files that belong to no finished trial.

    Args:
        folders: results folders.
        frame: their scores; says each trial's mixture and seed.

    Raises:
        UserError: nothing was kept.
    """
    import pandas as pd

    from analysis.centroids import Model
    from engine.store import Store

    assert isinstance(frame, pd.DataFrame)
    files = {slug: path for folder in folders for slug, path in Store(folder).kept("embeddings").items()}
    if not files:
        raise UserError(f'{str(folders[0])!r} has no embeddings; run its grid with keep = ["embeddings"]')
    models = []
    for trial, rows in frame.groupby("trial"):
        if trial in files:
            first = rows.iloc[0]
            models.append(Model(files[str(trial)], str(first["mixture"]), _trained(rows), int(first["seed"])))
    return tuple(models), len(files) - len(models)


def _trained(rows: "object") -> tuple[str, ...]:
    """The two languages of a pair, from what the scores of its model are; nothing for other models."""
    import pandas as pd

    assert isinstance(rows, pd.DataFrame)
    cross = rows[rows["role"] == "cross"]
    return tuple(sorted({*cross["language"], *cross["donor"]}))


def _clouds(models: Sequence["Model"]) -> Iterator[tuple["Model", Mapping[str, "Cloud"]]]:
    """Each model with its languages' clouds, read one after the other."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from analysis.centroids import cloud

    for model in models:
        try:
            table = pq.read_table(model.path, columns=["language", "embedding"]).combine_chunks()
            codes = table["language"].to_numpy()
            flat = table["embedding"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
            values = flat.reshape(len(codes), -1)
            yield model, {str(code): cloud(values[codes == code].astype(np.float64)) for code in np.unique(codes)}
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise UserError(f"cannot use the embeddings {str(model.path)!r}: {error}") from None


def _languages(path: Path) -> list[str]:
    """The languages that a file of embeddings holds.

    Raises:
        UserError: it can't be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        languages: list[str] = pq.read_table(path, columns=["language"])["language"].unique().to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    return languages


def _matrix(folders: Sequence[Path], metric: str | None, plan: "Plan") -> tuple["CLTM | None", tuple[str, ...]]:
    """The matrix of the same folders, and why there is none."""
    from analysis.analyse import analyse_source
    from analysis.folders import read_folders
    from analysis.scores import Scores

    none = "The folder holds no matrix, so distances are compared with nothing."
    if plan.curve:
        return None, (none,)
    source = read_folders(folders, metric)
    return (analyse_source(source).cltm, ()) if isinstance(source.content, Scores) else (None, (none,))


if __name__ == "__main__":
    sys.exit(main())
