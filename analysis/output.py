"""Writes what an analysis found. Every file is written beside its place and then moved there, so it is whole or absent.

`matrix.csv` holds the cells that the aggregates use, in the layout that the command reads, so that it gives the same
aggregates again; `cells.parquet` holds every cell with its status, whatever it is.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.analyse import Analysis
from analysis.findings import STRUCTURE_FILE, findings_text
from analysis.inference import cell_columns
from analysis.item_noise import columns
from analysis.matrix import CLTM, gain_interval
from analysis.matrix_csv import matrix_text
from analysis.metrics import Measured, agreements
from analysis.scores import Hole
from analysis.uncertainty import BASE, CROSS, SELF, Floats
from grids.files import replacing, write_atomically

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MATRIX_FILE = "matrix.csv"
CELLS_FILE = "cells.parquet"
SUMMARY_FILE = "summary.json"
HOLES_FILE = "holes.csv"
HASHES_LISTED = 20  # of the data: each set of languages has its own; the file's own hash covers them all


def write_tables(analysis: Analysis, out: Path) -> tuple[Path, ...]:
    """Writes the tables into `out`, which exists, and returns their paths."""
    cltm = analysis.cltm
    texts = [
        (SUMMARY_FILE, summary_text(analysis)),
        (MATRIX_FILE, matrix_text(cltm.languages, cltm.values)),
        (HOLES_FILE, holes_text(analysis.holes)),
    ]
    if analysis.findings:
        texts.append((STRUCTURE_FILE, findings_text(analysis.findings)))
    for name, text in texts:
        write_atomically(out / name, text)
    with replacing(out / CELLS_FILE) as temporary:
        tested = cell_columns(analysis.tests) if analysis.tests else {}
        _write_cells(cltm, temporary, {**tested, **(columns(analysis.noise) if analysis.noise else {})})
    return (*(out / name for name, _ in texts), out / CELLS_FILE)


def summary_text(analysis: Analysis) -> str:
    """`summary.json`: the aggregates by their keys (fractions, null where unknown), then rows, notes and provenance."""
    cltm, plan, provenance = analysis.cltm, analysis.plan, analysis.provenance
    summary = {
        "metric": cltm.metric or None,
        "condition": provenance.condition or None,
        "n": cltm.n,
        **{value.aggregate.key: value.value for value in analysis.values},
        "profile": analysis.profile,
        "beside": {one.aggregate.key: asdict(one.beside) for one in analysis.values if one.beside.known()},
        "metrics": _metrics(analysis.metrics),
        "grid": plan.name,
        "task": plan.task or None,
        "samples": plan.samples,
        "seeds": list(cltm.scores.seeds) if cltm.scores else None,
        "inverted": cltm.scores.inverted if cltm.scores else None,
        "holes": len(analysis.holes),
        "exclude": {one.language: one.reason for one in plan.exclude},
        "languages": [asdict(row) for row in analysis.rows],
        "notes": list(analysis.notes),
        "source": {
            "file": provenance.file,
            "sha256": provenance.sha256,
            "config_sha": list(provenance.config_sha),
            "data_sha": list(provenance.data_sha[:HASHES_LISTED]),
            "data_sha_count": len(provenance.data_sha),
            "code_version": list(provenance.code_version),
        },
    }
    return json.dumps(summary, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _metrics(metrics: Sequence[Measured]) -> list[dict[str, Any]]:
    """One entry a metric: its aggregates, what stands beside them, and how its cells agree with the other metrics'."""
    pairs = agreements(metrics)
    return [
        {
            "metric": one.name,
            "aggregates": {value.aggregate.key: value.value for value in one.values},
            "beside": {value.aggregate.key: value.beside.known() for value in one.values if value.beside.known()},
            "agreement": [asdict(pair) for pair in pairs if one.name in (pair.one, pair.other)],
            "problem": one.problem or None,
        }
        for one in metrics
    ]


def holes_text(holes: tuple[Hole, ...]) -> str:
    """`holes.csv`: one missing score a row; the header alone if there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["role", "target", "donor", "seed"])
    writer.writerows([hole.role, hole.target, hole.donor, hole.seed] for hole in holes)
    return text.getvalue()


def _write_cells(cltm: CLTM, path: Path, further: "Mapping[str, Floats | NDArray[np.str_]]") -> None:
    """`cells.parquet`: every (target, donor), the diagonal too; null where something is not known."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    codes, m = np.array(cltm.languages), cltm.moments
    gain_lower, gain_upper = gain_interval(m)
    numbers = {
        "r": cltm.r, "se": cltm.se, "lower": cltm.lower, "upper": cltm.upper, "g": cltm.g,
        "gain": m.x, "gain_se": cltm.gain_se, "gain_lower": gain_lower, "gain_upper": gain_upper,
        "relative_gain": cltm.relative_gain, "self_gain": m.y, "self_gain_se": np.sqrt(m.s_yy),
        "base_mean": m.mean[..., BASE], "self_mean": m.mean[..., SELF], "cross_mean": m.mean[..., CROSS],
    }  # fmt: skip
    words = {name: values for name, values in further.items() if values.dtype.kind == "U"}
    numbers |= {name: values for name, values in further.items() if name not in words}
    counts = {
        "n_base": m.count[..., BASE], "n_self": m.count[..., SELF], "n_cross": m.count[..., CROSS], "df": m.df,
    }  # fmt: skip
    table = pa.table({
        "target": np.repeat(codes, cltm.n).tolist(),
        "donor": np.tile(codes, cltm.n).tolist(),
        "status": cltm.status.ravel().tolist(),
        "used": cltm.used.ravel(),
        **{name: values.ravel().tolist() for name, values in words.items()},
        **{name: pa.array(values.ravel(), pa.float64(), from_pandas=True) for name, values in numbers.items()},
        **{name: pa.array(values.ravel(), pa.int64()) for name, values in counts.items()},
        "clipped": m.clipped.ravel(),
    })  # fmt: skip
    pq.write_table(table, path)
