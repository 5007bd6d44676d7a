"""`ray job submit` on a real cluster of one node with dashboard and token, as cluster/existing.md says it."""

import os
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine.store import Store
from tasks.data.cache import cache_folder
from tests.engine.runs import ROOT, engine, scores, write_grid

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.long]
RAY = str(Path(sys.executable).with_name("ray"))
TOY = {"task": "toy", "corpus": "synthetic", "languages": ["ca", "no"], "seeds": 2, "samples": 8}


@dataclass(frozen=True)
class Cluster:
    """A running head: where it is and what a client's environment needs."""

    address: str
    environ: dict[str, str]
    home: Path

    def submit(self, folder: Path, *entry: str) -> subprocess.CompletedProcess[str]:
        """`ray job submit` of a working directory, to the job's end."""
        command = [RAY, "job", "submit", "--address", self.address, "--working-dir", str(folder), "--", *entry]
        return subprocess.run(command, env=self.environ, cwd=folder, capture_output=True, text=True, timeout=400)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head in a session of its own, with its own ports, temp folder, token and home."""
    folder = Path(tempfile.mkdtemp(prefix="rj-", dir="/tmp"))  # short: socket paths are limited
    token, home = folder / "token", folder / "home"
    home.mkdir()
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    ports = free_ports(6)
    environ = {
        **os.environ, "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "CLTM_CACHE": str(cache_folder()),
    }  # fmt: skip
    names = (
        "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port",
        "ray-client-server-port",
    )  # fmt: skip
    options = [f"--{name}={port}" for name, port in zip(names, ports, strict=True)]
    command = [
        RAY, "start", "--head", "--block", "--num-cpus=2", f"--temp-dir={folder}/r", "--node-ip-address=127.0.0.1",
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", "--object-store-memory=100000000", *options,
    ]  # fmt: skip
    head = subprocess.Popen(command, env=environ, start_new_session=True, stdout=subprocess.DEVNULL)
    found = Cluster(f"http://127.0.0.1:{ports[1]}", environ, home)
    try:
        wait_for_jobs(found)
        yield found
    finally:
        end(head, folder)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def wait_for_jobs(cluster: Cluster) -> None:
    """Waits until the job server answers."""
    for _ in range(60):
        listed = [RAY, "job", "list", "--address", cluster.address]
        if subprocess.run(listed, env=cluster.environ, capture_output=True).returncode == 0:
            return
        time.sleep(1)
    raise AssertionError("no job server within two minutes")


def end(head: "subprocess.Popen[bytes]", folder: Path) -> None:
    """Ends the head and every process of its session, and its files."""
    members = subprocess.run(["ps", "-s", str(head.pid), "-o", "pid="], capture_output=True, text=True).stdout.split()
    for pid in members:
        try:
            os.kill(int(pid), signal.SIGKILL)
        except ProcessLookupError:
            continue
    head.wait()
    shutil.rmtree(folder, ignore_errors=True)


def documented() -> list[str]:
    """The command line that cluster/existing.md gives, from `ray job submit` on."""
    lines = (ROOT / "cluster" / "existing.md").read_text().splitlines()
    (line,) = {line.strip() for line in lines if "ray job submit --working-dir ." in line and "demo.toml" in line}
    return shlex.split(line, comments=True)


def test_the_documented_line_runs_to_its_end_with_the_scores_of_a_plain_run(cluster: Cluster, tmp_path: Path) -> None:
    """The line as it stands, but for the demo's number of languages and seeds: two cores take minutes for all."""
    line = documented()
    assert line[:5] == ["ray", "job", "submit", "--working-dir", "."]
    assert line[5:] == ["--", "python", "-m", "engine", "run", "grids/demo.toml"]
    copy = tmp_path / "checkout"
    ignored = shutil.ignore_patterns("results", "wandb", ".git", ".venv", ".cache", ".mypy_cache", ".hypothesis")
    shutil.copytree(ROOT, copy, ignore=ignored)
    demo = copy / "grids" / "demo.toml"
    shrunk = demo.read_text().replace('["ca", "es", "eu", "tr"]', '["ca", "es"]').replace("seeds = 8", "seeds = 1")
    demo.write_text(shrunk.replace("\n[model]", "\n[tracking]\nwandb = 'off'\n[model]"))
    done = cluster.submit(copy, *line[6:])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "complete: no trial is missing" in done.stdout
    results = cluster.home / "results" / "demo"  # in Ray's copy they would be gone
    assert len(list(Store(results).results())) == 5
    plain = engine("run", demo, "--results", tmp_path / "plain")
    assert plain.returncode == 0, plain.stdout + plain.stderr
    assert scores(results).equals(scores(tmp_path / "plain"))


def test_a_failing_grid_gives_a_failed_job_with_the_cause_in_its_log(cluster: Cluster, tmp_path: Path) -> None:
    grid = write_grid(tmp_path / "fail.toml", **TOY, options={"fail": ["no"]})
    done = cluster.submit(ROOT, "python", "-m", "engine", "run", str(grid), "--results", str(tmp_path / "fail"))
    assert done.returncode == 1
    assert "told to fail on 'no'" in done.stdout
    assert "failed" in (done.stdout + done.stderr).lower()
    assert Path(cluster.environ["RAY_AUTH_TOKEN_PATH"]).read_text() not in done.stdout + done.stderr


def test_a_stopped_job_keeps_what_is_finished(cluster: Cluster, tmp_path: Path) -> None:
    slow = {"seeds": 20, "options": {"seconds": 0.5}}
    grid, results = write_grid(tmp_path / "slow.toml", **{**TOY, **slow}), tmp_path / "slow"
    submit = [
        RAY,
        "job",
        "submit",
        "--address",
        cluster.address,
        "--no-wait",
        "--submission-id",
        "slow",
        "--working-dir",
    ]
    entry = ["python", "-m", "engine", "run", str(grid), "--results", str(results)]
    subprocess.run([*submit, str(ROOT), "--", *entry], env=cluster.environ, check=True, capture_output=True)
    for _ in range(3000):
        if len(list((results / "trials").glob("[!.]*.json"))) >= 3:
            break
        time.sleep(0.1)
    stop = [RAY, "job", "stop", "--address", cluster.address, "slow"]
    assert subprocess.run(stop, env=cluster.environ, capture_output=True, timeout=60).returncode == 0
    kept = len(list(Store(results).results()))
    assert 3 <= kept < 100


def test_the_upload_leaves_out_what_can_be_made_again() -> None:
    ignored = (ROOT / ".rayignore").read_text().split()
    assert {".venv/", "results/", ".cache/", "wandb/", ".git/"} <= set(ignored)
