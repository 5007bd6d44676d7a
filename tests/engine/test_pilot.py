"""What a plan says after trials have been measured: hours, effects, seeds; and what it says is unknown."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from engine.cost import Audio, Workload, estimate
from engine.job import Job, settle
from engine.pilot import gpu_advice, pilot_part, pilot_rows, time_rows
from engine.plan import Pending, Selection, make_plan
from engine.store import Pass, Result
from engine.train import run_trial
from grids.errors import UserError
from grids.mixture import Mixture, Trial
from tasks.base import Score
from tasks.toy import SELF_GAIN
from tests.engine.jobs import toy_grid, toy_job

LANGUAGES = ["ca", "no", "zh-CN", "eu", "tr"]


class KnownAudio(Audio):
    """A step and a second a training sample, ten seconds a test set."""

    def trained(self, mixture: Mixture) -> Workload:
        samples = float(sum(mixture.total_samples.values()))
        return Workload(samples, samples, samples)

    def scored(self, languages: Sequence[str]) -> Workload:
        return Workload(len(languages), 10.0 * len(languages), 10.0 * len(languages))


def write(job: Job, text: str, phases: dict[str, float], seed: int = 0, device: str = "cpu", day: int = 1) -> None:
    """Stores a finished trial that took so long."""
    trial = Trial(Mixture.parse(text, 8), seed)
    languages = job.grid.evaluated(trial.mixture)
    scores = tuple(Score(code, "score", 0.5, 7, primary=True, higher_is_better=True) for code in languages)
    ran = Pass(languages, phases, device, {}, "v", f"2026-01-{day:02}")
    job.store.write(Result(trial, scores, (ran,), 8, 1, "c", "d", {}))


def run(job: Job, part: Selection) -> None:
    """Runs a part of a toy grid without Ray."""
    for item in make_plan(job, part).pending:
        result = run_trial(job, item)
        assert result is not None
        job.store.write(result)


def test_three_languages_spread_over_the_list_and_the_first_paired_seeds() -> None:
    grid = toy_grid(languages=LANGUAGES, seeds={"base": 12, "self": [0, 2, 4, 6, 8, 10], "cross": [0, 1, 2, 4, 6, 8]})
    part = pilot_part(grid, Selection())
    assert part.languages == ("ca", "zh-CN", "tr")
    assert part.seeds == (0, 2, 4, 6)
    cells = [t for t in grid.trials() if part.holds(t, 8)]
    assert len(cells) == 9 * 4
    assert pilot_part(grid, Selection(("no", "eu"), (1, 2))).languages == ("no", "eu")


def test_a_pilot_leaves_mixtures_of_the_users_own_out() -> None:
    grid = toy_grid(mixtures=["ca+0.5*no"], samples=8)
    part = pilot_part(grid, Selection())
    assert {t.mixture.text(8) for t in grid.trials() if part.holds(t, 8)} == {"ca", "no", "ca+ca", "no+no", "ca+no"}


def test_a_pilot_needs_a_matrix_and_all_kinds() -> None:
    with pytest.raises(UserError, match="a pilot needs mode = 'matrix' and two languages; got 'list'"):
        pilot_part(toy_grid(mode="list", mixtures=["ca"]), Selection())
    with pytest.raises(UserError, match="leave out --only base"):
        pilot_part(toy_grid(), Selection(kinds=("base",)))


def test_hours_scale_with_the_audio_of_what_is_left(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path, languages=["ca", "no"], seeds=2))
    write(job, "ca", {"load": 1.0, "train": 16.0, "evaluate": 5.0})
    write(job, "ca+no", {"load": 3.0, "train": 32.0, "evaluate": 10.0})
    audio = KnownAudio(job)
    left = make_plan(job).pending
    found = estimate(job, audio, left)
    assert found is not None
    samples = sum(sum(item.trial.mixture.total_samples.values()) for item in left)
    tests = sum(10 * len(item.languages) for item in left)
    assert found.phases == pytest.approx(
        {"load": 2 * len(left) / 3600, "train": 2 * samples / 3600, "evaluate": 0.5 * tests / 3600}
    )
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.hours < found.high
    assert 22 / 23 * found.hours <= found.low
    assert found.high <= 45 / 44 * found.hours
    assert found.trials == 2


def test_a_trial_scored_from_its_checkpoint_counts_no_training(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path))
    write(job, "ca", {"train": 16.0, "evaluate": 5.0})
    item = Pending(Trial(Mixture.parse("no", 8), 0), ("no",), "checkpoint")
    found = estimate(job, KnownAudio(job), [item])
    assert found is not None
    assert found.hours == pytest.approx(5 / 3600)


def test_only_the_newest_device_counts(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path))
    write(job, "ca", {"train": 1000.0}, device="old", day=1)
    write(job, "no", {"train": 8.0}, device="new", day=2)
    found = estimate(job, KnownAudio(job), [Pending(Trial(Mixture.parse("ca", 8), 1), ("ca",))])
    assert found is not None
    assert (found.device, found.hours) == ("new", pytest.approx(8 / 3600))


def test_what_was_not_measured_is_unknown(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path))
    assert estimate(job, Audio(job), make_plan(job).pending) is None
    assert dict(time_rows(job, None))["time"].startswith("unknown")
    rows = dict(pilot_rows(job, pilot_part(job.grid, Selection()), make_plan(job)))
    assert rows["pilot"].startswith("0 of 15 trials")
    assert all(rows[name].startswith("unknown") for name in ("time", "disk", "seeds"))
    assert "smallest effect" not in rows


def test_one_mixture_gives_no_range(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path))
    write(job, "ca", {"train": 8.0})
    found = estimate(job, Audio(job), make_plan(job).pending)
    assert found is not None
    assert "range unknown" in dict(time_rows(job, found))["time"]


def test_a_pilot_finds_what_the_toy_plants(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path, languages=LANGUAGES, seeds=12, options={"noise": 0.005}))
    part = pilot_part(job.grid, Selection(seeds=tuple(range(12))))
    run(job, part)
    rows = dict(pilot_rows(job, part, make_plan(job)))
    spread = re.match(r"sd ([\d.]+) of a score .* correlation of one seed's scores (\S+) \((\S+) to (\S+)\)",
                      rows["seeds' spread"])  # fmt: skip
    assert spread is not None
    sd, correlation, low, high = map(float, spread.groups())
    assert sd == pytest.approx(0.005, rel=0.25)
    assert low < 0 < high
    assert low < correlation < high
    gain = re.match(r"a gain of ([\d.]+) .*r = ([\d.]+) at the pilot's self-gain ([\d.]+)", rows["smallest effect"])
    assert gain is not None
    assert 0.003 < float(gain[1]) < 0.008
    assert float(gain[3]) == pytest.approx(SELF_GAIN, abs=0.01)
    assert float(gain[2]) == pytest.approx(float(gain[1]) / float(gain[3]), abs=0.01)
    assert "recommended: seeds = " in rows["seeds"]
    assert make_plan(job).finished == 9 * 12


def test_scores_that_do_not_vary_give_no_effect(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path, options={"noise": 0.0}))
    part = pilot_part(job.grid, Selection())
    run(job, part)
    rows = dict(pilot_rows(job, part, make_plan(job)))
    assert rows["seeds"].startswith("unknown")


def test_disk_is_what_the_trials_left_behind(tmp_path: Path) -> None:
    job = settle(toy_job(tmp_path))
    part = pilot_part(job.grid, Selection())
    run(job, part)
    for path in (tmp_path / "trials").iterdir():
        kept = tmp_path / "predictions" / f"{path.stem}.parquet"
        kept.parent.mkdir(exist_ok=True)
        kept.write_bytes(b"0" * 1_000_000)
    rest = replace(make_plan(job), pending=make_plan(toy_job(tmp_path / "other")).pending[:10])
    assert dict(pilot_rows(job, part, rest))["disk"].startswith("10.0 MB")


@pytest.mark.parametrize(("peak", "advice"), [(10e9, "gpus_per_trial = 0.1:"), (200e9, "may not fit")])
def test_memory_of_a_trial_says_how_many_fit_a_gpu(peak: float, advice: str) -> None:
    assert advice in gpu_advice(int(peak), int(139e9))
    shares = re.search(r"= ([\d.]+): (\d+) trials", gpu_advice(int(9e9), int(139e9)))
    assert shares is not None
    assert float(shares[1]) * int(shares[2]) <= 1
