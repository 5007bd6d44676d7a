"""`python -m cluster` where SLURM's own commands are stand-ins that keep what they are given."""

import re
import subprocess
from pathlib import Path

import pytest

from grids.files import write_atomically
from tests.cluster.jobs import cluster
from tests.engine.runs import ROOT, write_grid

TOY = {"task": "toy", "corpus": "synthetic", "languages": ["ca", "no"], "seeds": 1, "samples": 8}


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path / "toy.toml", **TOY)


def stand_in(folder: Path, name: str, text: str) -> str:
    """A command of SLURM. Returns the PATH that finds it."""
    write_atomically(folder / "bin" / name, f"#!/bin/sh\n{text}\n")
    (folder / "bin" / name).chmod(0o755)
    return f"{folder / 'bin'}:/usr/bin:/bin"


def test_a_dry_run_shows_the_script_and_leaves_nothing(grid: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    done = cluster("submit", grid, "--time", "1:0:0", "--nodes", 2, "--results", results, "--dry-run", PATH="/nowhere")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("#!/usr/bin/env bash\n#SBATCH --job-name=cltm-toy\n")
    assert not results.exists()


@pytest.mark.parametrize(("sharing", "gpus"), [("mps", 0.25), ("processes", 0.0)])
def test_a_job_shares_gpus_as_its_grid_says(tmp_path: Path, sharing: str, gpus: float) -> None:
    grid = write_grid(tmp_path / "g.toml", **TOY, resources={"sharing": sharing, "gpus_per_trial": gpus})
    done = cluster("submit", grid, "--time", "1:0:0", "--results", tmp_path / "r", "--dry-run")
    assert f"\nsharing={sharing}\n" in done.stdout, done.stderr


def test_what_is_shown_is_submitted_and_kept(grid: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    path = stand_in(tmp_path, "sbatch", f"cat > {tmp_path}/given; echo '77;test'")
    done = cluster("submit", grid, "--time", "1:0:0", "--results", results, PATH=path)
    assert done.returncode == 0, done.stderr
    assert "submitted: job 77" in done.stdout
    given = (tmp_path / "given").read_text()
    assert given in done.stdout
    assert (results / "slurm" / "77.sh").read_text() == given


def test_a_refusal_of_slurm_is_one_line(grid: Path, tmp_path: Path) -> None:
    path = stand_in(tmp_path, "sbatch", "echo 'sbatch: error: invalid account' >&2; exit 1")
    done = cluster("submit", grid, "--time", "1:0:0", "--results", tmp_path / "r", PATH=path)
    assert done.returncode == 2
    assert done.stderr == "error: sbatch: sbatch: error: invalid account\n"


def test_without_slurm_the_mistake_is_named(grid: Path, tmp_path: Path) -> None:
    done = cluster("submit", grid, "--time", "1:0:0", "--results", tmp_path / "r", PATH="/nowhere")
    assert done.returncode == 2
    assert "no sbatch on this machine" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_status_shows_this_folders_jobs_alone(tmp_path: Path) -> None:
    results = tmp_path / "results"
    for job in ("77", "80"):
        write_atomically(results / "slurm" / f"{job}.sh", "")
    table = "         JOBID STATE\\n            77 RUNNING\\n          80_2 PENDING\\n            78 PENDING\\n"
    done = cluster("status", results, PATH=stand_in(tmp_path, "squeue", f"printf '{table}'"))
    assert re.findall(r"\d+(?:_\d)? [RP]", done.stdout) == ["77 R", "80_2 P"]
    assert "no trial has started yet" in done.stdout
    assert done.returncode == 1


def test_status_of_a_folder_without_jobs_says_so(tmp_path: Path) -> None:
    done = cluster("status", tmp_path)
    assert done.returncode == 2
    assert "no job was submitted for" in done.stderr


@pytest.mark.slow
def test_prefetch_brings_the_backbone_that_the_task_needs(grid: Path, tmp_path: Path) -> None:
    tiny = write_grid(tmp_path / "tiny.toml", **{**TOY, "task": "gender"}, model={"backbone": "tiny"})
    done = cluster("prefetch", tiny, CLTM_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "cache" / "models").rglob("*.safetensors"))
    assert "nothing" in cluster("prefetch", grid, HF_HUB_OFFLINE="1").stdout


@pytest.mark.slow
def test_prefetch_of_an_unknown_backbone_is_one_line(tmp_path: Path) -> None:
    odd = write_grid(tmp_path / "odd.toml", **{**TOY, "task": "gender"}, model={"backbone": "./none"})
    done = cluster("prefetch", odd)
    assert done.returncode == 2
    assert "backbone './none' is no folder and no hub name" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_repository_names_no_account_partition_or_path_of_a_cluster() -> None:
    command = "git ls-files --cached --others --exclude-standard cluster engine grids tasks *.sh .ci Makefile"
    listed = subprocess.run(command.split(), cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert "cluster/job.sh" in listed
    place = re.compile(r"(?<![\w.$}])/(?:home|gpfs|lustre|scratch|work|project|mnt|nfs)/\w")
    named = re.compile(
        r"""--(?:account|partition|qos)[= ]["']?[a-z]|^\s*(?:account|partition) = "(?!my-project|batch|gpu")"""
    )
    for name in listed:
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8").splitlines(), 1):
            assert not place.search(line), f"{name}:{number}: {line}"
            assert not named.search(line), f"{name}:{number}: {line}"
