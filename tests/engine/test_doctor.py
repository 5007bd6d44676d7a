"""The doctor: what is wrong is found, and named with its mend."""

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engine import doctor
from engine.commands import doctor as doctor_command
from engine.doctor import Finding
from grids.resources import Resources
from tests.engine.jobs import toy_grid
from tests.engine.runs import ROOT
from tests.engine.wandb_files import server


def test_a_finding_that_is_wrong_has_a_fix_and_an_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda grid: [Finding("x", False, "is broken", "mend it")])
    assert doctor_command(None) == 1
    assert {"WRONG", "mend it"} <= {word.strip() for word in capsys.readouterr().out.split("  ")}
    monkeypatch.setattr(doctor, "examine", lambda grid: [Finding("x", True, "is fine", "mend it")])
    assert doctor_command(None) == 0
    assert "mend it" not in capsys.readouterr().out


def test_a_check_that_cannot_be_made_counts_as_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (found,) = [finding for finding in doctor.examine() if finding.what == "audio"]
    assert not found.fine
    assert found.fix


def test_a_cluster_that_does_not_answer_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with socket.create_server(("127.0.0.1", 0)) as head:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{head.getsockname()[1]}")
        assert doctor._ray().fine
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        assert "RAY_AUTH_MODE" in doctor._ray().fix
    monkeypatch.delenv("RAY_AUTH_MODE")
    assert not doctor._ray().fine
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert "host:port" in doctor._ray().fix


def test_a_token_that_others_can_read_is_found_and_never_printed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret")
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.owner() == tmp_path.owner() and folder.stat().st_mode & 0o011 == 0:
            folder.chmod(0o711)
    token.chmod(0o644)
    found = doctor._ray()
    assert not found.fine
    assert found.fix == f"chmod 600 {token}"
    assert "secret" not in found.found + found.fix
    token.chmod(0o600)
    assert doctor._ray().fine


@pytest.mark.slow
@pytest.mark.parametrize(("status", "fine"), [(200, True), (429, False), (500, False)])
def test_a_wandb_server_is_asked_where_runs_go_online(monkeypatch: pytest.MonkeyPatch, status: int, fine: bool) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with server(status) as (url, asked):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_MODE", "online")
        assert doctor._wandb().fine is fine
        assert len(asked) == 1
        monkeypatch.setenv("WANDB_MODE", "offline")
        assert doctor._wandb().fine
        assert len(asked) == 1


@pytest.mark.slow
def test_a_model_that_is_not_here_is_wrong_only_without_downloads(tmp_path: Path) -> None:
    code = (
        "from engine.doctor import _model\n"
        f"print([_model(name).fine for name in ('tiny', 'none', {str(tmp_path)!r}, 'some-body/some-model')])"
    )
    for offline, fine in (("1", "[True, True, True, False]"), ("0", "[True, True, True, True]")):
        environ = {**os.environ, "HF_HUB_OFFLINE": offline, "HF_HOME": str(tmp_path / "hub")}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environ, capture_output=True, text=True)
        assert done.stdout.strip() == fine, done.stderr


def test_a_grid_adds_its_gpu_sharing_and_its_model() -> None:
    whats = [finding.what for finding in doctor.examine(toy_grid(model={"backbone": "tiny"}))]
    assert whats[-2:] == ["GPU sharing", "model"]
    assert "model" not in [finding.what for finding in doctor.examine()]


def command(folder: Path, name: str, text: str) -> str:
    """A program of two lines. Returns its folder."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("modes", "program", "fine", "found", "fix"),
    [
        ("echo Default", True, True, "mps, compute mode Default", ""),
        (
            "echo Default; echo Exclusive_Process",
            True,
            False,
            "mps, compute mode Default, Exclusive_Process",
            "Default",
        ),
        ("echo Default", False, False, "mps, but nvidia-cuda-mps-control is not on PATH", "nvidia-compute-utils"),
        (
            "echo 'No devices were found'; exit 6",
            False,
            False,
            "gpus_per_trial = 0.5, but no GPU is here",
            "where a GPU",
        ),
        ("", True, False, "gpus_per_trial = 0.5, but no GPU is here", "gpus_per_trial = 0"),
    ],
)
def test_a_machine_that_cannot_share_gpus_as_the_grid_asks_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, modes: str, program: bool, fine: bool, found: str, fix: str
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    if modes:
        given = "[ \"$*\" = '--query-gpu=compute_mode --format=csv,noheader' ] || exit 2"
        command(tmp_path / "bin", "nvidia-smi", f"{given}\n{modes}")
    if program:
        command(tmp_path / "bin", "nvidia-cuda-mps-control", "exit 1")
    asked = doctor._sharing(Resources(gpus_per_trial=0.5, sharing="mps"))
    assert (asked.fine, asked.found) == (fine, found)
    assert fix in asked.fix
    turns = doctor._sharing(Resources(gpus_per_trial=0.5))
    here = "no GPU" not in found
    assert (turns.fine, turns.found) == (here, "processes" if here else found)
    assert doctor._sharing(Resources()).fine


def test_a_daemon_that_runs_already_makes_an_exclusive_gpu_one_to_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", command(tmp_path / "bin", "nvidia-smi", "echo Exclusive_Process"))
    with tempfile.TemporaryDirectory(dir="/tmp") as pipes, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
        monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", pipes)
        resources = Resources(gpus_per_trial=0.5, sharing="mps")
        assert not doctor._sharing(resources).fine
        daemon.bind(f"{pipes}/control")
        daemon.listen()
        assert doctor._sharing(resources) == Finding("GPU sharing", True, "mps, by a daemon that runs already", "")
