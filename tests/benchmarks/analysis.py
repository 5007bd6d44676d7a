"""How fast the analysis is and what memory it takes: `analysis.cltm` on one core, each run a process of its own.

Time is counted from the imports on: reading, statistics, tables; then figures and page. Memory is the process's peak.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

from tests.benchmarks.measured import Measured

SEEDS, REPEATS = 10, 3
REFERENCE_SECONDS = (
    48.0  # the reference's scripts (matrix, properties, heatmaps, map), 44 languages, a two-core machine
)
SIZES = {44: ("<= 5 s", "<= 30 s", "<= 1 GB"), 147: ("<= 60 s", "", "<= 2 GB")}
ONE_CORE = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclass(frozen=True)
class Run:
    """Seconds and peak gigabytes of one run."""

    statistics: float
    figures: float
    peak: float


def measure(folder: Path) -> Iterator[Measured]:
    """Both sizes, and the ratio to the reference's scripts."""
    for languages, (quick, drawn, memory) in SIZES.items():
        source = results_of(folder / str(languages), languages)
        runs = [in_a_process(source) for _ in range(REPEATS)]
        what = f"{languages} x {SEEDS}"
        yield Measured(f"{what}, s for all statistics and tables", [run.statistics for run in runs], quick)
        yield Measured(f"{what}, s more for figures and page", [run.figures for run in runs], drawn)
        yield Measured(f"{what}, peak GB", [run.peak for run in runs], memory)
        if languages == 44:
            ratios = [REFERENCE_SECONDS / (run.statistics + run.figures) for run in runs]
            yield Measured("44: times faster than the reference's scripts", ratios)


def results_of(folder: Path, languages: int) -> Path:
    """A results folder with codes of the language table."""
    from grids.languages import table
    from tests.analysis.factories import Folder, Truth, results, truth

    planted = truth(languages)
    codes = tuple(dict.fromkeys([*table(), *planted.codes]))[:languages]
    return results(folder, Truth(codes, planted.r, planted.base, planted.gain), Folder(range(SEEDS), noise=0.02))


def in_a_process(source: Path) -> Run:
    """One run, on one core."""
    command = [sys.executable, "-m", "tests.benchmarks.analysis", str(source)]
    done = subprocess.run(command, env=os.environ | ONE_CORE, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return Run(**json.loads(done.stdout.splitlines()[-1]))


def main(source: str) -> None:
    """The measured process: what `python -m analysis.cltm` does, by the clock."""
    from analysis import cltm

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import_all()
    options = cltm.parser().parse_args([source])
    out = Path(source) / "analysis"
    out.mkdir(exist_ok=True)
    start = time.perf_counter()
    found = cltm.compute(options)
    cltm.write_tables(found, out)
    between = time.perf_counter()
    cltm.write(found, out)
    end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(json.dumps(asdict(Run(between - start, end - between, peak))))  # noqa: T201


def import_all() -> None:
    """What is imported only when it is needed."""
    for name in ("latex", "plots", "report", "output", "findings"):
        import_module(f"analysis.{name}")
    for name in ("jinja2", "matplotlib.figure", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg",
                 "networkx", "pandas", "pyarrow.parquet", "scipy.cluster.hierarchy", "scipy.sparse.csgraph",
                 "scipy.special", "scipy.stats"):  # fmt: skip
        import_module(name)


if __name__ == "__main__":
    main(sys.argv[1])
