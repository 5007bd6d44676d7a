"""The benchmark of a device: its arithmetic, and that it runs on a CPU, where its figures mean nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grids.grid import parse
from tasks.gender import Gender, GenderOptions
from tests.benchmarks.device.arithmetic import Pace, Workload, floor, of_the_paper, workload
from tests.benchmarks.device.crew import FailedError, Worker, crew
from tests.benchmarks.device.grid_run import compared
from tests.benchmarks.device.jobs import PRECISIONS, SECTIONS, jobs, title
from tests.benchmarks.device.report import Report, shown
from tests.benchmarks.device.scale import OF_SCORING, OF_STEPS, PARTS, Scale
from tests.benchmarks.device.work import first_stages, made_clips, shortcuts_without, this_device
from tests.engine.runs import ROOT


def benchmark(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs it to its end."""
    command = [sys.executable, "-m", "tests.benchmarks.device", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_papers_matrices_are_counted_from_their_grids() -> None:
    found = of_the_paper()
    # 44 bases and 44 selves, 946 pairs, 10 seeds each; a base is scored on one language, a pair on two
    assert found["SV"] == Workload(10_340, 20_240_000, 440 + 440 + 2 * 9_460, 1_000)
    assert found["gender"] == Workload(10_340, 2_428_800, 19_800, 120)


def test_epochs_count_as_clips_again() -> None:
    table = {"task": "gender", "corpus": "synthetic", "languages": ["ca", "es"], "seeds": 2, "samples": 4}
    grid = parse({**table, "model": {"backbone": "tiny"}, "train": {"epochs": 3}}, "grid")
    assert workload(grid) == Workload(10, 2 * 3 * 2 * (2 * 4 + 3 * 8), 12, 8)


def test_hours_of_a_matrix_by_hand() -> None:
    work, pace = Workload(trainings=10, clips=2_000, test_sets=20, block=100), Pace(3.6, 0.009, 0.0018)
    assert pace.training(100, 500) == pytest.approx(3.6 + 0.9 + 0.9)
    assert pace.an_hour(100, 500) == pytest.approx(3600 / 5.4)
    assert pace.hours(work, tests=500) == pytest.approx((36 + 18 + 18) / 3600)
    four = Pace(3.6, 0.009, 0.0018, at_once=4)
    assert four.an_hour(100, 500) == pytest.approx(4 * pace.an_hour(100, 500))
    assert four.hours(work, 500) == pytest.approx(pace.hours(work, 500) / 4)


def test_the_floor_of_a_step_is_that_of_the_documentation() -> None:
    found = floor(parameters=94.4e6, clip_seconds=4.5, flop_a_second_of_audio=42.8e9)
    assert found.traffic_bytes == pytest.approx(94.4e6 * 66)
    seconds = found.seconds(bandwidth=3.35e12, flop_a_second=790e12)
    assert seconds == pytest.approx(2.1e-3, rel=0.01)
    assert of_the_paper()["SV"].clips * seconds / 3600 == pytest.approx(11.8, rel=0.01)


def test_spreads_are_shown_as_median_and_extremes() -> None:
    assert [shown(value) for value in ([3.0, 1.0, 2.25], 12_345.6, 7, None, [])] == [
        "2.25 (1-3)", "12,346", "7", "-", "-",
    ]  # fmt: skip


def test_rows_are_in_the_file_as_they_come(tmp_path: Path) -> None:
    report = Report(tmp_path / "new" / "out.jsonl")
    report.row("streams", {"variant": "x", "at_once": 2, "ms": 1.5})
    report.line("that is all")
    (row, line) = rows(tmp_path / "new" / "out.jsonl")
    assert (row["table"], row["ms"]) == ("streams", 1.5)
    assert line["line"] == "that is all"


def test_every_part_is_switched_off_in_turn_at_both_batch_sizes() -> None:
    names = [job.name for job in jobs(SECTIONS, small=False)]
    assert len(names) == len({*names})
    for precision in PRECISIONS[False]:
        for batch in (1, 8):
            for without in ((), PARTS, *((part,) for part in OF_STEPS)):
                assert f"steps {title(without)}, batch {batch}, {precision}" in names
        assert {f"scoring without {part}, {precision}" for part in OF_SCORING} <= {*names}
    assert {*OF_SCORING, *OF_STEPS} == {*PARTS}
    assert [job.name for job in jobs(["kill"], small=False)] == ["kill, processes", "kill, MPS"]


@pytest.mark.parametrize("batch", [1, 8])
def test_first_stages_meet_every_shape_that_the_steps_have(batch: int) -> None:
    from engine.inputs import rung

    scale, task = Scale.small("none"), Gender(GenderOptions(), parse(GRID, "grid").model)
    fast = shortcuts_without(scale, (), this_device())
    clips = made_clips(scale, "some", 64)
    stages = first_stages(task, clips, batch, fast, seed=1, passes=2)
    examples = task.examples(None, clips, 1, 0)  # type: ignore[arg-type]
    groups = [examples[n : n + batch] for n in range(0, len(clips), batch)]
    wanted = {max(rung(one.clips[0].length, scale.ladder) for one in group) for group in groups}
    met = [rung(stage[0].length, scale.ladder) for stage in stages[:-3]]
    assert sorted(met) == sorted([*wanted, *wanted])
    assert {len(stage) for stage in stages} == {batch}


GRID = {"task": "gender", "corpus": "synthetic", "languages": ["ca"], "seeds": 1, "samples": 4,
        "model": {"backbone": "tiny"}}  # fmt: skip


@pytest.mark.slow
def test_what_a_process_has_recorded_serves_its_trainings(tmp_path: Path) -> None:
    from tests.benchmarks.device.at_once import ready, recordings, scoring, training
    from tests.benchmarks.device.work import make_backbone

    scale = Scale.small(make_backbone(str(tmp_path), small=True))
    first = ready(scale, "fp32", 0.5, 0)
    assert first["recorded"] == first["shapes"] > 1
    trained = training(scale, "fp32", 20, 0)
    assert len(trained["losses"]) == 20
    scored = scoring(scale, "fp32", 0)
    assert trained["begin"] < trained["end"] <= scored["begin"] < scored["end"]
    graphs = recordings(scale).graphs
    assert graphs
    assert len(graphs.costs) == first["recorded"]


@pytest.mark.slow
def test_a_process_that_fails_hangs_or_dies_says_so() -> None:
    with crew(1) as (worker,):
        with pytest.raises(FailedError, match="AttributeError"):
            worker.call("report.nothing", seconds=60)
        assert worker.call("report.shown", 1.25, seconds=60) == "1.25"
        os.kill(worker.pid, signal.SIGSTOP)
        worker.ask("report.shown", 1.25)
        with pytest.raises(FailedError, match="no answer within 0 s"):
            worker.answer(0.1)
        begun = time.monotonic()
        worker.kill()
        assert time.monotonic() - begun < 5
    worker = Worker()
    worker.kill()
    with pytest.raises((FailedError, OSError)):
        worker.call("report.shown", 1.25, seconds=60)


@pytest.mark.slow
def test_it_measures_one_section_on_a_cpu_and_says_that_this_means_nothing(tmp_path: Path) -> None:
    done = benchmark("--small", "--only", "same", "--out", tmp_path / "out.jsonl")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MEANS ANYTHING" in done.stdout
    found = rows(tmp_path / "out.jsonl")
    (same,) = (row for row in found if row.get("table") == "same")
    assert (same["recorded_differs_at"], same["recorded_largest"]) == (0, 0)


@pytest.mark.slow
def test_what_there_is_no_time_for_is_named(tmp_path: Path) -> None:
    done = benchmark("--small", "--only", "scoring", "--budget", 1)
    assert done.returncode == 1
    assert "no answer within" in done.stdout or "MISSING: scoring everything on" in done.stdout


@pytest.mark.long
@pytest.mark.slow
def test_all_of_it_runs_on_a_cpu(tmp_path: Path) -> None:
    done = benchmark("--small", "--out", tmp_path / "out.jsonl", "--budget", 500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is missing" in done.stdout
    found = rows(tmp_path / "out.jsonl")
    tables = {row["table"] for row in found if "table" in row}
    assert tables == {"same", "steps", "scoring", "hours", "streams"}
    killed = [str(row["line"]) for row in found if str(row.get("line", "")).startswith("kill -9, processes")]
    assert len(killed) == 1
    assert killed[0].count("losses as alone, to the bit") == 2


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.ray
def test_a_grid_goes_through_ray_and_on_after_a_kill() -> None:
    done = benchmark("--small", "--end-to-end", "--budget", 500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the scores of one at a time (24)" in done.stdout


def test_scores_that_differ_are_noticed(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    key = {name: ["a"] for name in ("mixture", "seed", "language", "metric", "condition")}
    for name, value in (("one", 0.5), ("other", 0.625)):
        pq.write_table(pa.table({**key, "value": [value]}), tmp_path / name)
    assert "the scores of one at a time" in compared(tmp_path / "one", tmp_path / "one")
    assert "OTHER scores, by up to 0.12" in compared(tmp_path / "one", tmp_path / "other")
