"""What runs on each node: free ports, the right address, and nothing left when a node of Ray ends."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.node import BLOCK, PORTS, free_blocks, own_address, ray_command
from grids.errors import UserError
from tests.engine.mps_daemon import install, processes
from tests.engine.runs import ROOT

FAKE_RAY = """
import os, subprocess, sys, time
def main():
    if os.fork() == 0:  # a daemon in a session of its own, whose parent is gone
        os.setsid()
        if os.fork() == 0:
            open(os.environ["PIDS"] + "/daemon", "w").write(str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    os.wait()
    open(os.environ["TMPDIR"] + "/socket", "w").close()
    pipes = os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "")
    open(os.environ["PIDS"] + "/pipes", "w").write(f"{pipes} {os.path.exists(pipes + '/control')}")
    open(os.environ["PIDS"] + "/started", "w").write(" ".join(sys.argv[1:]))
    time.sleep({seconds})
    sys.exit(3)
"""


def test_a_block_with_a_port_in_use_is_not_free() -> None:
    before = free_blocks(123)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("", before[0] + len(PORTS) - 1))
        other.listen()
        assert free_blocks(123) == before[1:]
    assert free_blocks(123) == before


def test_jobs_in_a_row_begin_with_blocks_of_their_own() -> None:
    firsts = [free_blocks(job)[0] for job in range(1000, 1020)]
    assert len(set(firsts)) == 20
    assert len(PORTS) <= BLOCK
    assert all(10_000 <= first < 32_768 - BLOCK for first in firsts), "systems hand out the ports above by themselves"


def test_the_address_is_the_devices_or_where_packets_to_the_peer_leave() -> None:
    assert own_address("127.0.0.1") == "127.0.0.1"
    assert own_address("nobody.invalid", "lo") == "127.0.0.1"
    with pytest.raises(UserError, match="no network device 'ib7'"):
        own_address("127.0.0.1", "ib7")
    with pytest.raises(UserError, match=r"no way to 'nobody.invalid'"):
        own_address("nobody.invalid")


def test_ray_gets_what_slurm_gave_and_no_port_of_its_own_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", "12")
    monkeypatch.setenv("SLURM_GPUS_ON_NODE", "4")
    head = ray_command(True, "10.0.0.1:10040", "10.0.0.1", Path("/tmp/r-1"))
    worker = ray_command(False, "10.0.0.1:10040", "10.0.0.2", Path("/tmp/r-1"))
    assert {"--head", "--port=10040", "--dashboard-port=10041", "--temp-dir=/tmp/r-1", "--block"} <= set(head)
    assert {"--address=10.0.0.1:10040", "--node-ip-address=10.0.0.2", "--node-manager-port=10043"} <= set(worker)
    for command in (head, worker):
        assert {"--num-cpus=12", "--num-gpus=4"} <= set(command)
    assert not {"--head", "--port=10040"} & set(worker)
    monkeypatch.delenv("SLURM_GPUS_ON_NODE")
    assert "--num-gpus=0" in ray_command(True, "10.0.0.1:10040", "10.0.0.1", Path("/tmp/r-1"))


def start_fake(tmp_path: Path, seconds: float, *options: str, **variables: str) -> subprocess.Popen[str]:
    """A node whose Ray is a fake that leaves a daemon behind."""
    package = tmp_path / "fake" / "ray" / "scripts"
    package.mkdir(parents=True)
    for name in ("ray", "ray/scripts"):
        (tmp_path / "fake" / name / "__init__.py").touch()
    (package / "scripts.py").write_text(FAKE_RAY.replace("{seconds}", str(seconds)))
    command = [sys.executable, "-m", "cluster.node", "start", "head", f"--temp={tmp_path / 'r-1'}"]
    environment = {
        **os.environ, "PYTHONPATH": str(tmp_path / "fake"), "PIDS": str(tmp_path), "RAY_ADDRESS": "127.0.0.1:10040",
        "SLURM_CPUS_ON_NODE": "1", **variables,
    }  # fmt: skip
    command += [f"--stage={tmp_path / 'stage'}", *options]
    node = subprocess.Popen(command, cwd=ROOT, env=environment, text=True)
    for _ in range(600):
        if (tmp_path / "started").exists() and (tmp_path / "daemon").exists():
            return node
        time.sleep(0.05)
    node.kill()
    raise AssertionError("the fake did not start")


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder below which sockets fit."""
    with tempfile.TemporaryDirectory(prefix="n-", dir="/tmp") as name:
        yield Path(name)


def is_there(pid_file: Path) -> bool:
    return Path("/proc", pid_file.read_text()).exists()


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "status"), [(600.0, 0), (1.0, 3)], ids=["asked to end", "ended by itself"])
def test_a_node_of_ray_leaves_no_process_and_no_file(tmp_path: Path, seconds: float, status: int) -> None:
    node = start_fake(tmp_path, seconds)
    assert is_there(tmp_path / "daemon")
    if not status:
        assert (tmp_path / "r-1").stat().st_mode & 0o777 == 0o700
        node.send_signal(signal.SIGTERM)
    assert node.wait(60) == status
    assert not is_there(tmp_path / "daemon")
    assert not (tmp_path / "r-1").exists()
    assert not (tmp_path / "stage").exists()


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["asked to end", "ended by itself", "killed"])
def test_a_node_that_shares_its_gpus_by_mps_has_a_daemon_around_its_ray(short: Path, ending: str) -> None:
    fake = install(short / "mps")
    node = start_fake(short, 1.0 if ending == "ended by itself" else 600.0, "--sharing=mps", PATH=fake.path)
    pipes, there = (short / "pipes").read_text().split()
    assert there == "True", "it was there before Ray was"
    assert Path(pipes).is_relative_to(short / "r-1")
    if ending != "ended by itself":
        node.send_signal(signal.SIGTERM if ending == "asked to end" else signal.SIGKILL)
    assert node.wait(60) == {"asked to end": 0, "ended by itself": 3, "killed": -signal.SIGKILL}[ending]
    if ending == "killed":  # SLURM ends what Ray has left
        os.kill(int((short / "daemon").read_text()), signal.SIGKILL)
        left = [pid for pid in processes(Path(pipes)) if b"ray.scripts" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(left[0], signal.SIGKILL)
    end = time.monotonic() + 30
    while (processes(Path(pipes)) or Path(pipes).exists()) and time.monotonic() < end:
        time.sleep(0.05)
    assert ending == "killed" or fake.clients_at_quit == ["0"], "Ray ends first"
    assert fake.ended_in_order == 1
    assert processes(Path(pipes)) == []
    assert not Path(pipes).exists()
    assert (short / "r-1").exists() is (ending == "killed")


@pytest.mark.slow
def test_a_node_has_no_daemon_unless_the_grid_asks_for_it(tmp_path: Path) -> None:
    fake = install(tmp_path / "mps")
    assert start_fake(tmp_path, 0.5, PATH=fake.path).wait(60) == 3
    assert (tmp_path / "pipes").read_text() == " False"
    assert list(fake.notes.iterdir()) == []


def test_what_was_there_before_a_block_outlives_it() -> None:
    code = (
        "import subprocess as s\nfrom grids.machine import no_descendants\nsleep = ['sleep', '60']\n"
        "before = s.Popen(sleep)\nwith no_descendants():\n  inside = s.Popen(sleep)\n"
        "print(before.poll(), inside.poll())\nbefore.kill()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.split()[0] == "None", done.stderr
    assert done.stdout.split()[1] != "None"
