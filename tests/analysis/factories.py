"""Small results folders with a known truth."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import tomli_w

CODES = ("no", "zh-CN", "fy-NL", "cmn_hans_cn")


@dataclass(frozen=True, eq=False)
class Truth:
    """A planted matrix: what scores would be without noise.

    Attributes:
        r: (L, L) planted transfer, 1 on the diagonal.
        base: (L,) P(i).
        gain: (L,) self-gain.
    """

    codes: tuple[str, ...]
    r: np.ndarray
    base: np.ndarray
    gain: np.ndarray


def truth(n: int = 4, seed: int = 0) -> Truth:
    """A random truth of n languages with hostile codes first."""
    rng = np.random.default_rng(seed)
    codes = (*CODES, *(f"x{i:02d}" for i in range(n)))[:n]
    r = rng.uniform(-1.5, 1.3, (n, n))
    np.fill_diagonal(r, 1.0)
    return Truth(codes, r, rng.uniform(0.4, 0.6, n), rng.uniform(0.05, 0.2, n))


@dataclass(frozen=True)
class Folder:
    """How a results folder is to look."""

    seeds: Sequence[int] = (0, 1, 2)
    noise: float = 0.0
    draw: int = 0
    metric: str = "score"
    higher_is_better: bool = True
    grid: Mapping[str, object] | None = field(default_factory=dict)
    n_test: int = 500


def rows(planted: Truth, how: Folder) -> pd.DataFrame:
    """The rows of `scores.parquet`: base, self and both directions of each pair, once a seed."""
    rng = np.random.default_rng(how.draw)
    out = []
    for s in how.seeds:
        shared = rng.normal(0, how.noise, len(planted.codes)) if how.noise else np.zeros(len(planted.codes))
        for i, target in enumerate(planted.codes):
            for j, donor in [(None, ""), *enumerate(planted.codes)]:
                role = "base" if j is None else "self" if i == j else "cross"
                added = 0.0 if j is None else planted.r[i, j] * planted.gain[i]
                own = rng.normal(0, how.noise) if how.noise else 0.0
                value = planted.base[i] + added + shared[i] + own
                mixture = target if j is None else "+".join(sorted([target, donor]))
                out.append(row(mixture, role, target, donor, int(s), value, how))
    return pd.DataFrame(out)


def row(mixture: str, role: str, target: str, donor: str, seed: int, value: float, how: Folder) -> dict[str, object]:
    """One row of the contract."""
    return {
        "trial": f"{mixture}_seed{seed}", "mixture": mixture, "role": role, "donor": donor, "samples": 10, "seed": seed,
        "language": target, "metric": how.metric, "condition": "", "primary": True,
        "value": float(value if how.higher_is_better else 1 - value), "higher_is_better": how.higher_is_better,
        "n_train": 10, "n_test": how.n_test, "seconds": 1.0, "device": "cpu", "config_sha": "c0ffee",
        "data_sha": "da7a", "code_version": "0.1.0",
    }  # fmt: skip


def results(folder: Path, planted: Truth, how: Folder | None = None, frame: pd.DataFrame | None = None) -> Path:
    """Writes a results folder and returns it; `frame` replaces the rows made of `planted`."""
    how = how or Folder()
    folder.mkdir(parents=True, exist_ok=True)
    (rows(planted, how) if frame is None else frame).to_parquet(folder / "scores.parquet")
    if how.grid is not None:
        grid = {"name": "toy", "task": "toy", "languages": list(planted.codes), "seeds": list(how.seeds), "samples": 10}
        (folder / "grid.toml").write_text(tomli_w.dumps({**grid, **how.grid}), encoding="utf-8")
    return folder
