"""Jobs on a real SLURM of three nodes (`slurm.sh`): complete, out of time, cancelled, killed, side by side."""

import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.jobs import NODES, SET_UP, STATE, Job, cluster, leftovers, nodes_are_idle, slurm, submit, until
from tests.engine.runs import ROOT, engine, gender_grid, scores, write_grid
from tests.tasks.data.hostile import plain_release

pytestmark = [pytest.mark.slurm, pytest.mark.ray, pytest.mark.slow]
RELEASE_SECONDS = 10.0  # in which all nodes are free again, once the driver has ended
CANARY = "canary-1f2e3d4c5b6a"
LANGUAGES = ["ca", "no", "zh-CN"]


@pytest.fixture(scope="module", autouse=True)
def slurm_of_three_nodes() -> Iterator[None]:
    assert not ROOT.is_relative_to("/tmp"), "each node has a /tmp of its own: check the project out elsewhere"
    missing = [name for name in ("slurmctld", "slurmd", "munged", "ip") if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        why = f"needs {', '.join(missing)}" if missing else "needs root"
        assert "CLTM_SLURM_TESTS" not in os.environ, f"the tests on SLURM were asked for, but this machine {why}"
        pytest.skip(f"a SLURM of the test's own {why}")
    os.environ["SLURM_CONF"] = str(STATE / "slurm.conf")
    subprocess.run([SET_UP, "up"], check=True, timeout=120)
    yield
    subprocess.run([SET_UP, "down"], check=True, timeout=60)
    del os.environ["SLURM_CONF"]


@pytest.fixture(scope="module")
def shared() -> Iterator[Path]:
    """A folder that every node sees; each has its own /tmp."""
    with tempfile.TemporaryDirectory(prefix="cltm-shared-", dir="/var/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def site(shared: Path) -> Path:
    """One core of each node."""
    path = shared / "site.toml"
    path.write_text(f'cpus_per_node = 1\ngrace_seconds = 40\n[environment]\nCLTM_CACHE = "{shared / "cache"}"\n')
    return path


def toy(folder: Path, name: str, trial_seconds: float, seeds: int = 8) -> Path:
    """A grid of 9 trials a seed."""
    options = {"seconds": trial_seconds}
    return write_grid(
        folder / f"{name}.toml", task="toy", corpus="none", languages=LANGUAGES, seeds=seeds, samples=8, options=options
    )


def assert_released(job: Job) -> None:
    """The nodes are free soon, and nothing of the job is left on them."""
    assert until(nodes_are_idle, job) < RELEASE_SECONDS
    assert [leftovers(node) for node in NODES] == [[], [], []]
    assert not list((job.results / "slurm").glob("*.token"))


def test_a_grid_on_three_nodes_is_complete_and_equals_a_run_on_one_machine(shared: Path, site: Path) -> None:
    grid = gender_grid(shared / "small.toml", plain_release(shared, ("no", "zh-CN")))
    alone = engine("run", grid, "--results", shared / "alone", cache=shared / "cache")
    assert alone.returncode == 0, alone.stderr
    staging = shared / "staging.toml"
    staging.write_text('node_local = "/tmp"\n' + site.read_text())
    keys = {"WANDB_API_KEY": CANARY, "HF_TOKEN": CANARY}
    job = submit(grid, shared / "three nodes", "--nodes", 3, "--time", 10, "--site", staging, **keys)
    token = job.results / "slurm" / f"{job.number}.token"
    until(lambda: token.exists() and len(token.read_text()) == 64, job)
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    secret = token.read_text()
    copies = f"n[123]/tmp/cltm-{job.number}/*.i16"
    until(lambda: any(STATE.glob(copies)), job)
    job.ended()
    assert_released(job)
    assert "Ray runs on 3 nodes" in job.log
    assert scores(job.results).equals(scores(shared / "alone"))
    said = b"".join(path.read_bytes() for path in job.results.rglob("*") if path.is_file())
    assert CANARY.encode() not in said
    assert secret.encode() not in said


def test_status_shows_the_queue_and_the_store_together(shared: Path, site: Path) -> None:
    job = submit(toy(shared, "seen", 1.0), shared / "seen", "--nodes", 3, "--time", 10, "--site", site)
    job.until_finished(3)
    shown = cluster("status", job.results)
    assert f"{job.number}    RUNNING" in shown.stdout, shown.stdout + shown.stderr
    assert "of 72 trials" in shown.stdout
    job.ended()
    shown = cluster("status", job.results)
    assert "no job of this folder is in the queue" in shown.stdout
    assert "72 of 72 trials" in shown.stdout
    assert shown.returncode == 0


def test_a_job_out_of_time_queues_itself_again_and_does_no_trial_twice(shared: Path, site: Path) -> None:
    job = submit(toy(shared, "long", 4.0), shared / "long", "--nodes", 3, "--time", 2, "--site", site)
    until(lambda: "it goes back into the queue" in job.log, job)
    kept = job.trials()
    assert 0 < len(kept) < 72
    job.ended()
    assert int(job.shows("Restarts")) >= 1
    assert len(job.trials()) == 72
    assert {path: job.trials()[path] for path in kept} == kept, "a finished trial ran again"
    assert_released(job)


def test_a_job_that_finishes_nothing_in_its_time_is_not_queued_again(shared: Path, site: Path) -> None:
    grid = toy(shared, "endless", 600.0, seeds=1)
    job = submit(grid, shared / "endless", "--nodes", 1, "--time", 2, "--site", site)
    until(lambda: job.state not in ("PENDING", "RUNNING", "COMPLETING"), job)
    assert "nothing was finished in all of it" in job.log
    assert job.shows("Restarts") == "0"
    assert_released(job)


def test_scancel_loses_nothing(shared: Path, site: Path) -> None:
    grid = toy(shared, "cancelled", 0.5)
    job = submit(grid, shared / "cancelled", "--nodes", 3, "--time", 10, "--site", site)
    job.until_finished(9)
    slurm("scancel", job.number)
    assert_released(job)
    kept = job.trials()
    assert 9 <= len(kept) < 72
    again = submit(grid, shared / "cancelled", "--nodes", 3, "--time", 10, "--site", site)
    again.ended()
    assert len(again.trials()) == 72
    assert {path: again.trials()[path] for path in kept} == kept


def test_nodes_are_free_soon_after_the_driver_is_killed(shared: Path, site: Path) -> None:
    job = submit(toy(shared, "killed", 0.5), shared / "killed", "--nodes", 3, "--time", 10, "--site", site)
    job.until_finished(3)
    os.kill(job.driver(), signal.SIGKILL)
    assert_released(job)
    assert job.state == "FAILED"
    assert "ended with status 137" in job.log


@pytest.mark.parametrize("lost", ["n3", "n1"], ids=["a worker", "the head"])
def test_a_grid_completes_though_a_node_is_lost(shared: Path, site: Path, lost: str) -> None:
    job = submit(toy(shared, f"lost-{lost}", 1.0), shared / f"lost-{lost}", "--nodes", 3, "--time", 10, "--site", site)
    kept = job.until_finished(6)
    subprocess.run([SET_UP, "lose", lost], check=True)
    try:
        until(lambda: job.state == "PENDING", job)  # SLURM finds out, and queues the job again
    finally:
        subprocess.run([SET_UP, "restore", lost], check=True)
    job.ended()
    assert len(job.trials()) == 72
    assert {path: job.trials()[path] for path in kept} == kept
    until(nodes_are_idle, job)
    shutil.rmtree(STATE / lost / "tmp" / f"r-{job.number}", ignore_errors=True)  # nobody was left to remove it


def test_two_jobs_on_one_node_neither_see_nor_end_each_other(shared: Path, site: Path) -> None:
    both = shared / "both.toml"
    both.write_text('sbatch = ["--nodelist=n2"]\n' + site.read_text())
    long = submit(toy(shared, "beside", 1.0, seeds=5), shared / "beside", "--time", 10, "--site", both)
    long.until_finished(1)
    short = submit(toy(shared, "short", 0.0, seeds=1), shared / "short", "--time", 10, "--site", both)
    short.ended()
    assert long.state == "RUNNING", long.log
    assert len(long.trials()) < 45
    assert leftovers("n2") == [f"r-{long.number}"]
    assert len(short.trials()) == 9
    long.ended()
    assert len(long.trials()) == 45
    assert_released(long)


def test_shards_fill_one_folder_together(shared: Path, site: Path) -> None:
    job = submit(toy(shared, "shards", 1.0), shared / "shards", "--shards", 3, "--time", 10, "--site", site)
    until(lambda: not slurm("squeue", "--noheader").strip(), job)
    logs = [path.read_text() for path in (job.results / "slurm").glob(f"{job.number}_[0-9].log")]
    assert len(logs) == 3
    assert sum("complete" in log for log in logs) >= 1
    assert len(job.trials()) == 72
    assert_released(job)
