"""Each system that starts from nothing learns speakers on the synthetic corpus, more from more clips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.job import make_job
from engine.plan import Pending
from engine.train import run_trial
from grids.grid import load
from grids.mixture import Mixture, Trial
from grids.resources import Tracking
from grids.seeds import Seeds

GRIDS = Path(__file__).parents[3] / "grids"
LANGUAGE = "ca"


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("name", ["demo_speaker_ecapa", "demo_speaker_siamese"])
def test_twice_the_clips_beat_once_beat_none(name: str, tmp_path: Path) -> None:
    """Each step is at least 2 standard errors of the paired differences of 5 seeds, with the demo grid's settings."""
    grid = replace(load(GRIDS / f"{name}.toml"), languages=(LANGUAGE,), seeds=Seeds.parse(5), mixtures=("",),
                   tracking=Tracking(wandb="off"))  # fmt: skip
    job = make_job(grid, tmp_path)
    auc = np.zeros((3, 5))
    for blocks, seed in np.ndindex(*auc.shape):
        mixture = Mixture.of({LANGUAGE: blocks * grid.samples}) if blocks else Mixture()
        result = run_trial(job, Pending(Trial(mixture, seed), (LANGUAGE,)))
        assert result is not None
        (auc[blocks, seed],) = (score.value for score in result.scores if score.primary and not score.condition)
    for gain in (auc[1] - auc[0], auc[2] - auc[1]):
        assert gain.mean() >= 2 * gain.std(ddof=1) / np.sqrt(len(gain)), auc.round(3)
