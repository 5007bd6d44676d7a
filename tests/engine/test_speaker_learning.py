"""More data of the target make a speaker system better, and any better than the untouched encoder."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.job import make_job, settle
from engine.plan import make_plan
from engine.train import run_trial
from grids.grid import parse

GRIDS = Path(__file__).parents[2] / "grids"
SAMPLES, SEEDS = 120, 5


def two_errors_above_0(difference: np.ndarray) -> bool:
    """Whether the mean over seeds is at least two standard errors."""
    return bool(difference.mean() >= 2 * difference.std(ddof=1) / np.sqrt(len(difference)))


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["demo_speaker", "demo_speaker_validated"])
def test_identification_learns_to_verify(name: str, tmp_path: Path) -> None:
    """The demo's settings; its N of 60 is too little to beat the filter bank of the built-in encoder."""
    table: dict[str, Any] = tomllib.loads((GRIDS / f"{name}.toml").read_text(encoding="utf-8"))
    changes = {"languages": ["es"], "seeds": SEEDS, "samples": SAMPLES, "mode": "list", "tracking": {"wandb": "off"}}
    job = settle(make_job(parse({**table, **changes, "mixtures": ["", "es", "es+es"]}, "learning"), tmp_path))
    auc = {0: np.empty(SEEDS), SAMPLES: np.empty(SEEDS), 2 * SAMPLES: np.empty(SEEDS)}
    for pending in make_plan(job).pending:
        result = run_trial(job, pending)
        assert result is not None
        (score,) = (one for one in result.scores if one.metric == "auc" and not one.condition)
        auc[sum(pending.trial.mixture.total_samples.values())][pending.trial.seed] = score.value
    assert two_errors_above_0(auc[SAMPLES] - auc[0])
    assert two_errors_above_0(auc[2 * SAMPLES] - auc[SAMPLES])
