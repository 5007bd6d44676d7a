"""How sure scores are of their test set: a bootstrap over its speakers, from kept predictions.

Seeds vary the training and leave the test set as it is, so their spread knows nothing of which speakers were tested.
Here the speakers of a language are drawn again and again, the same draw for every model scored on that language
(models are compared on one test set), and P(i), gains and r follow. Both errors add as squares: other seeds and other
speakers are independent. A grid keeps predictions with `keep = ["predictions"]`.

Shapes: L languages, B resamplings.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.scores import Plan, Scores, Source
from analysis.uncertainty import Floats, Ints, Moments, delta_se, fieller, t_quantile
from engine.store import Store
from grids.errors import UserError
from grids.mixture import MATRIX_ROLES

if TYPE_CHECKING:
    import pandas as pd

RESAMPLINGS = 200  # a standard error is then known to about 5 %
TOLERANCE = 1e-4  # between a stored score and the same metric of the kept predictions; GPU rounding may break ties


@dataclass(frozen=True, eq=False)
class ItemNoise:
    """The test set's part of the errors. NaN where predictions are missing; the diagonal of a gain is the self-gain.

    Attributes:
        resamplings: B.
        speakers: (L,) clusters of the test set; 0 where there are no predictions.
        items: (L,) clips or pairs.
        base_se: (L,) standard error of P(i), the mean over seeds.
        base_lower, base_upper: (L,) its 95 % interval.
        gain_se: (L, L) standard error of the gain.
        gain_lower, gain_upper: (L, L) its 95 % interval.
        r_se: (L, L) standard error of r (delta method); 0 on the diagonal.
        r_lower, r_upper: (L, L) Fieller's interval of r; NaN where the test set can't tell the self-gain from 0.
        g: (L, L) how far the self-gain is from 0 by the test set alone; see `uncertainty.Interval`.
    """

    resamplings: int
    speakers: Ints
    items: Ints
    base_se: Floats
    base_lower: Floats
    base_upper: Floats
    gain_se: Floats
    gain_lower: Floats
    gain_upper: Floats
    r_se: Floats
    r_lower: Floats
    r_upper: Floats
    g: Floats


def item_noise(source: Source, resamplings: int = RESAMPLINGS, roles: Sequence[str] = MATRIX_ROLES) -> ItemNoise | None:
    """The test set's part of the errors of a source's matrix.

    Args:
        source: results folders, some of whose trials kept predictions.
        resamplings: B; the relative error of a standard error is about `1 / sqrt(2 B)`.
        roles: of the scores that are resampled; "base" alone is quick and gives the errors of P(i) alone.

    Returns:
        The errors; None if nothing was kept (of this condition), or the metric can't be resampled.

    Raises:
        UserError: predictions are damaged, or don't give the score that is stored beside them.
    """
    from analysis.resampled_metrics import RESAMPLED

    scores = source.content
    if not isinstance(scores, Scores) or scores.metric not in RESAMPLED:
        return None
    folders = [part.source for part in source.provenance.parts if part.source.is_dir()]
    files = {slug: path for folder in folders for slug, path in Store(folder).kept("predictions").items()}
    if not files:
        return None
    means = _Means(scores, source.provenance.condition, resamplings)
    frame = _rows(folders, source.plan, scores, source.provenance.condition)
    for trial, rows in frame[frame["role"].isin(list(roles))].groupby("trial"):
        if str(trial) in files:
            means.add(files[str(trial)], rows)
    return means.noise() if means.known else None


class _Means:
    """Sums of resampled scores over seeds, by role and place, while files are read one after the other."""

    def __init__(self, scores: Scores, condition: str, resamplings: int) -> None:
        n = len(scores.languages)
        self._scores, self._condition, self._b = scores, condition, resamplings
        self._place = {code: i for i, code in enumerate(scores.languages)}
        # The first "resampling" has weight 1 everywhere: the score itself. Donor n is none (the base).
        self._sum = np.zeros((n, n + 1, resamplings + 1))
        self._count = np.zeros((n, n + 1), dtype=np.int64)
        self._weights = dict[str, tuple[tuple[str, ...], Floats]]()
        self._items = np.zeros(n, dtype=np.int64)

    @property
    def known(self) -> bool:
        """Whether anything was added."""
        return bool(self._count.any())

    def add(self, path: Path, rows: "pd.DataFrame") -> None:
        """Adds the predictions of one trial; `rows` are its scores."""
        from analysis.resampled_metrics import RESAMPLED

        items = _read(path, self._scores.metric, self._condition)
        for row in rows.itertuples():
            own = items[items["language"] == row.language]
            if own.empty:
                continue
            values = RESAMPLED[self._scores.metric](own, self._weights_of(str(row.language), own, path))
            if abs(values[0] - float(row.value)) > TOLERANCE:  # type: ignore[arg-type]
                what = f"{self._scores.metric} of {row.language!r} is {values[0]:g} by {path}"
                raise UserError(f"{what}, but {row.value:g} in the result file: they are not of one training")
            target = self._place[str(row.language)]
            donor = len(self._place) if row.role == "base" else self._place[str(row.donor)]
            self._sum[target, donor] += 1 - values if self._scores.inverted else values
            self._count[target, donor] += 1
            self._items[target] = len(own)

    def _weights_of(self, language: str, items: "pd.DataFrame", path: Path) -> Floats:
        """(B + 1, K) how often each speaker of a language is drawn, equal for every model."""
        from analysis.resampled_metrics import speakers_of

        speakers = speakers_of(items)
        if language not in self._weights:
            key = hashlib.sha256(f"test set of {language}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(key[:8]))
            k = len(speakers)
            drawn = rng.multinomial(k, np.full(k, 1 / k), size=self._b).astype(np.float64)
            self._weights[language] = speakers, np.concatenate([np.ones((1, k)), drawn])
        known, weights = self._weights[language]
        if known != speakers:
            raise UserError(f"{path}: the test set of {language!r} has other speakers than in other trials")
        return weights

    def noise(self) -> ItemNoise:
        """The errors that the sums give."""
        n = len(self._place)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(self._count[..., None] > 0, self._sum / self._count[..., None], np.nan)
        speakers: Ints = np.zeros(n, dtype=np.int64)
        for code, (names, _) in self._weights.items():
            speakers[self._place[code]] = len(names)
        base, self_ = mean[:, n], mean[np.arange(n), np.arange(n)]
        x, y = mean[:, :n] - base[:, None], (self_ - base)[:, None]
        m = _moments(x, np.broadcast_to(y, x.shape), speakers)
        base_se = np.sqrt(_covariance(base, base, speakers))
        half_base = t_quantile(speakers - 1) * base_se
        half, interval = t_quantile(m.df) * np.sqrt(m.s_xx), fieller(m)
        diagonal = np.eye(n, dtype=bool)
        known = np.isfinite(m.y) & diagonal
        return ItemNoise(
            self._b, speakers, self._items,
            base_se, base[:, 0] - half_base, base[:, 0] + half_base,
            np.sqrt(m.s_xx), m.x - half, m.x + half,
            np.where(known, 0.0, delta_se(m)),
            np.where(known, 1.0, interval.lower), np.where(known, 1.0, interval.upper), interval.g,
        )  # fmt: skip


def _moments(x: Floats, y: Floats, speakers: Ints) -> Moments:
    """Gains and their variances over resamplings, in the form that `uncertainty` takes.

    Args:
        x: (L, L, B + 1) cross-gains, first the one that was measured.
        y: (L, L, B + 1) self-gains.
        speakers: (L,) K.
    """
    k = speakers[:, None]
    shape = x.shape[:-1]
    return Moments(
        mean=np.full((*shape, 3), np.nan), count=np.zeros((*shape, 3), dtype=np.int64), x=x[..., 0], y=y[..., 0],
        s_xx=_covariance(x, x, k), s_yy=_covariance(y, y, k), s_xy=_covariance(x, y, k),
        df=np.broadcast_to(np.maximum(k - 1, 0), shape), clipped=np.zeros(shape, dtype=bool),
    )  # fmt: skip


def _covariance(one: Floats, other: Floats, speakers: Ints) -> Floats:
    """Covariance over resamplings, times K / (K - 1), by which a bootstrap of K clusters is too small.

    Resamplings without a value (no pair of a kind was drawn) are left out; with fewer than two speakers it is NaN.
    """
    one, other = one[..., 1:], other[..., 1:]
    seen = np.isfinite(one) & np.isfinite(other)
    count = seen.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = [np.where(seen, a, 0.0).sum(axis=-1, keepdims=True) / count[..., None] for a in (one, other)]
        products = np.where(seen, (one - means[0]) * (other - means[1]), 0.0)
        small = np.where(speakers > 1, speakers / (speakers - 1), np.nan)
        return np.where(count > 1, products.sum(axis=-1) / (count - 1) * small, np.nan)


def _rows(folders: Sequence[Path], plan: Plan, scores: Scores, condition: str) -> "pd.DataFrame":
    """The scores that made the matrix, with their trials."""
    from analysis.folders import read_rows, under

    frame = read_rows(folders, plan, conditions=bool(condition))
    frame = under(frame, condition) if condition else frame
    codes = list(scores.languages)
    inside = frame["language"].isin(codes) & frame["donor"].isin([*codes, ""])
    return frame[(frame["metric"] == scores.metric) & inside]


def _read(path: Path, metric: str, condition: str) -> "pd.DataFrame":
    """A trial's predictions under a condition; a clip of no known speaker is a speaker of its own."""
    import pandas as pd
    import pyarrow as pa

    from analysis.resampled_metrics import NEEDED

    try:
        items = pd.read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {str(path)!r}: {error}") from None
    missing = [name for name in ("language", *NEEDED[metric]) if name not in items]
    if missing:
        raise UserError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; without it, give "
                        "--no-test-noise")  # fmt: skip
    if "clip" in items and "speaker" in items:
        items["speaker"] = items["speaker"].where(items["speaker"] != "", items["clip"])
    return items[(items["condition"] if "condition" in items else pd.Series("", items.index)) == condition]


def columns(noise: ItemNoise) -> Mapping[str, Floats]:
    """The errors of each cell as columns of `cells.parquet`: (L, L), P(i) repeated along its row."""
    shape = noise.g.shape
    return {
        "test_base_se": np.broadcast_to(noise.base_se[:, None], shape), "test_gain_se": noise.gain_se,
        "test_gain_lower": noise.gain_lower, "test_gain_upper": noise.gain_upper, "test_r_se": noise.r_se,
        "test_r_lower": noise.r_lower, "test_r_upper": noise.r_upper, "test_g": noise.g,
    }  # fmt: skip
