"""Several metrics of the same scores, side by side."""

import csv
from collections.abc import Sequence
from pathlib import Path

from analysis.analyse import Analysis, analyse_source
from analysis.folders import read_plan, read_rows
from analysis.merge import merged_plan
from analysis.scores_csv import METRICS, is_scores_header
from analysis.sources import read_source
from analysis.summary import Profile


def every_metric(
    paths: Sequence[Path], families: Path | None = None, profile: Profile = "recommended"
) -> tuple[Analysis, ...]:
    """The analysis of each metric that scores with self-gain have, without the test set's noise.

    Args:
        paths: results folders of one experiment, or one scores CSV.
        families: a CSV (code, family) that replaces the language table.
        profile: as in `analyse_source`.

    Raises:
        UserError: the source can't be used, or has no self-gain.
    """
    return tuple(
        analyse_source(read_source(paths, metric), families, test_noise=False, profile=profile)
        for metric in metrics_of(paths)
    )


def metrics_of(paths: Sequence[Path]) -> tuple[str | None, ...]:
    """The names of the metrics, primary ones first, then by name; (None,) for a bare matrix, which names none.

    Raises:
        UserError: the folders have no scores.
    """
    if paths[0].is_dir():
        frame = read_rows(paths, merged_plan([read_plan(path) for path in paths]))
        primary = set(frame["metric"][frame["primary"].astype(bool)])
        return tuple(sorted(map(str, frame["metric"].unique()), key=lambda name: (name not in primary, name)))
    with paths[0].open(encoding="utf-8-sig", newline="") as file:
        header = [name.strip().lower() for name in next(csv.reader(file), [])]
    return tuple(name for name in METRICS if name in header) if is_scores_header(header) else (None,)
