"""The MPS daemon of a run, with a stand-in for NVIDIA's program: it starts, it ends, and nobody else's is met."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from engine import mps
from engine.mps import LOGS, PIPES, RUNS, in_use, serving
from grids.errors import UserError
from grids.resources import Resources
from tests.engine.jobs import toy_job
from tests.engine.mps_daemon import Fake, install, processes
from tests.engine.processes import hearing_ctrl_c
from tests.engine.runs import ROOT

pytestmark = pytest.mark.slow  # each block starts three programs


@pytest.fixture(autouse=True)
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No daemon is known, and the folder for temporary files is empty and short."""
    for name in (PIPES, LOGS):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        monkeypatch.setenv("TMPDIR", name)
        monkeypatch.setattr(tempfile, "tempdir", None)
        monkeypatch.setattr(mps, "DEFAULT_PIPES", f"{name}/default")
        yield Path(name)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    return installed(tmp_path, monkeypatch)


def installed(folder: Path, monkeypatch: pytest.MonkeyPatch, fails: str = "") -> Fake:
    fake = install(folder, fails)
    monkeypatch.setenv("PATH", fake.path)
    return fake


def noted(fake: Fake) -> dict[str, Any]:
    """What the only daemon has noted of itself."""
    (path,) = fake.notes.glob("*.json")
    seen: dict[str, Any] = json.loads(path.read_text())
    return seen


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def assert_nothing_is_left(fake: Fake, temporary: Path) -> None:
    """No process and no file; that there was something, the notes say."""
    folders = [json.loads(path.read_text())["folder"] for path in fake.notes.glob("*.json")]
    assert folders
    assert [processes(Path(folder)) for folder in folders] == [[] for _ in folders]
    assert list(temporary.glob("*")) == []


def test_a_daemon_runs_in_the_block_and_what_starts_there_finds_it(
    fake: Fake, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv(LOGS, "mine")
    assert not in_use()
    with serving(True) as serves:
        assert serves
        assert in_use()
        pipes = Path(os.environ[PIPES])
        assert len(processes(pipes)) == 2, "the daemon and its server"
        assert (stat.S_IMODE(pipes.stat().st_mode), noted(fake)["mode"]) == (0o700, "0o700")
        child = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout.splitlines()
        assert {f"{PIPES}={pipes}", f"{LOGS}={pipes.parent / 'log'}", "CUDA_VISIBLE_DEVICES=1"} <= set(child)
    assert not in_use()
    assert (os.environ.get(PIPES), os.environ[LOGS]) == (None, "mine")
    assert "CUDA_VISIBLE_DEVICES" not in noted(fake), "its server would number the GPUs anew"
    assert fake.ended_in_order == 1
    assert_nothing_is_left(fake, plain)


def test_nothing_starts_where_nothing_is_asked_for(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    with serving(False) as serves:
        assert not serves
        assert PIPES not in os.environ
    assert list(fake.notes.iterdir()) == []
    assert caplog.text == ""


def test_without_the_program_one_warning_says_so_and_the_block_runs(
    plain: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(plain))
    with serving(True) as serves:
        assert not serves
        assert PIPES not in os.environ
    assert len(caplog.records) == 1
    assert "time slicing" in caplog.text
    assert "nvidia-cuda-mps-control, a part of NVIDIA's driver, is not on PATH; add its folder" in caplog.text


def test_a_daemon_that_does_not_start_is_named_with_its_reason(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed(tmp_path, monkeypatch, "refuses")
    with serving(True) as serves:
        assert not serves
        assert PIPES not in os.environ
    assert len(caplog.records) == 1
    assert "does not start: Cannot create the control daemon: no such device; python -m engine doctor" in caplog.text
    assert list(plain.glob("*")) == []


def test_a_daemon_without_a_server_is_not_used_as_its_clients_would_fail(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake, folder = installed(tmp_path, monkeypatch, "no server"), plain / "own"
    folder.mkdir()
    code = f"from pathlib import Path; from engine import mps; mps.START_SECONDS = 1.0; mps.keep(Path({str(folder)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, input="")
    assert done.stdout.endswith("does not start: [Server] Failed to start : system not yet initialized\n"), done.stderr
    assert fake.ended_in_order == 1
    assert_nothing_is_left(fake, plain)


def test_a_daemon_that_is_deaf_to_quit_is_killed_with_its_server(
    tmp_path: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = installed(tmp_path, monkeypatch, "deaf")
    with pytest.raises(KeyboardInterrupt), serving(True):
        raise KeyboardInterrupt  # for which subprocess itself would not wait
    assert fake.ended_in_order == 0
    assert_nothing_is_left(fake, plain)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_an_exception_in_the_block_ends_the_daemon_and_goes_on(
    fake: Fake, plain: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), serving(True):
        raise error
    assert PIPES not in os.environ
    assert fake.ended_in_order == 1
    assert_nothing_is_left(fake, plain)


def test_two_runs_at_once_have_a_daemon_each(fake: Fake, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(True):
        first = os.environ[PIPES]
        with monkeypatch.context() as other:
            other.delenv(PIPES)
            with serving(True) as serves:
                assert serves
                assert os.environ[PIPES] != first
        assert in_use(), "the second run's end is not the first one's"
        assert len(processes(Path(first))) == 2
        assert fake.ended_in_order == 1
    assert_nothing_is_left(fake, plain)


@pytest.fixture
def running(fake: Fake) -> Iterator[subprocess.Popen[str]]:
    """A run of its own process group that sleeps in the block, which the test ends."""
    code = (
        "import time\nfrom engine.mps import serving\nwith serving(True) as s:\n print(s, flush=True)\n time.sleep(600)"
    )
    with hearing_ctrl_c():
        run = subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
        )
    with run:
        assert run.stdout is not None
        assert run.stdout.readline() == "True\n"
        yield run
        run.kill()


def test_ctrl_c_reaches_the_run_and_not_the_daemon_which_ends_in_order(
    fake: Fake, plain: Path, running: subprocess.Popen[str]
) -> None:
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    assert running.wait(30) == -signal.SIGINT
    assert fake.ended_in_order == 1
    assert_nothing_is_left(fake, plain)


def test_a_killed_run_takes_its_daemon_along_and_a_later_run_meets_nothing_of_it(
    fake: Fake, plain: Path, running: subprocess.Popen[str]
) -> None:
    running.kill()
    running.wait(30)
    until(lambda: not list(plain.glob("*")))
    assert fake.ended_in_order == 1
    assert_nothing_is_left(fake, plain)
    with serving(True) as serves:
        assert serves
    assert fake.ended_in_order == 2


def test_a_signal_that_a_job_sends_to_all_its_processes_does_not_end_the_keeper(fake: Fake, plain: Path) -> None:
    with serving(True):
        daemon = noted(fake)["pid"]
        keeper = int(Path(f"/proc/{daemon}/status").read_text().partition("PPid:")[2].split()[0])
        assert b"engine.mps" in Path(f"/proc/{keeper}/cmdline").read_bytes()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(keeper, number)
        time.sleep(0.3)
        assert in_use()
    assert fake.ended_in_order == 1
    assert_nothing_is_left(fake, plain)


@pytest.mark.parametrize("where", ["named", "default"])
def test_a_sites_own_daemon_is_used_and_not_ended(
    fake: Fake, plain: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    site = {PIPES: str(plain / where), LOGS: str(plain / "log")}
    for folder in site.values():
        Path(folder).mkdir()
    subprocess.run([mps.PROGRAM, "-d"], env={**os.environ, **site}, check=True)
    if where == "named":
        monkeypatch.setenv(PIPES, site[PIPES])
    try:
        for wanted in (True, False):
            with serving(wanted) as serves:
                assert serves
                assert os.environ.get(PIPES) == (site[PIPES] if where == "named" else None)
            assert in_use()
        assert len(list(fake.notes.glob("*.json"))) == 1
        assert caplog.text == ""
    finally:
        subprocess.run([mps.PROGRAM], input="quit\n", text=True, env={**os.environ, **site}, check=True)
    assert fake.ended_in_order == 1
    until(lambda: not in_use())
    assert (plain / where / "control").is_socket(), "what a daemon leaves behind is no daemon"


def test_a_sites_folder_without_a_daemon_is_warned_of_and_left_alone(
    fake: Fake, plain: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(PIPES, str(plain / "site"))
    with serving(True) as serves:
        assert not serves
        assert os.environ[PIPES] == str(plain / "site")
    assert f"{PIPES} names {plain / 'site'}, where no daemon listens" in caplog.text
    assert list(fake.notes.iterdir()) == []


def test_a_socket_that_nobody_listens_to_is_no_daemon(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PIPES, str(plain))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
        daemon.bind(str(plain / "control"))
        daemon.listen()
        assert in_use()
    assert (plain / "control").is_socket()
    assert not in_use()
    monkeypatch.setenv(PIPES, f"{plain}/{'d' * 200}")
    assert not in_use(), "a path that no socket can have"


@pytest.mark.parametrize(("length", "used"), [(107, True), (108, False)])
def test_a_folder_that_is_too_long_for_sockets_is_not_used(
    fake: Fake, plain: Path, monkeypatch: pytest.MonkeyPatch, length: int, used: bool
) -> None:
    place = plain / ("d" * (length - len(f"{plain}/{mps.LONGEST_SOCKET}")))
    place.mkdir()
    with serving(True, place) as serves:
        assert serves
        pipes = Path(os.environ[PIPES])
        assert pipes.is_relative_to(place if used else "/tmp")
        assert pipes.is_relative_to(place) is used
        assert (pipes / "control_privileged").is_socket()
        assert len(str(pipes / "control_privileged")) == (length if used else len("/tmp" + mps.LONGEST_SOCKET))
    assert not pipes.exists()
    assert fake.ended_in_order == 1


def test_the_keeper_says_that_all_is_well_in_one_word(fake: Fake, plain: Path) -> None:
    folder = plain / "own"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "engine.mps", folder], cwd=ROOT, capture_output=True, text=True, input=""
    )
    assert (done.stdout, done.stderr, done.returncode) == (f"{RUNS}\n", "", 0)
    assert_nothing_is_left(fake, plain)


@pytest.mark.parametrize("gpus", [0.0, 0.25])
def test_a_result_says_what_it_was_computed_under(tmp_path: Path, fake: Fake, gpus: float) -> None:
    from engine.train import _sharing

    resources = Resources(gpus_per_trial=gpus)
    before = _sharing(resources)
    with serving(True):
        inside = _sharing(resources)
    shared = {"gpus_per_trial": gpus}
    assert before == ({**shared, "sharing": "processes"} if gpus else {})
    assert inside == ({**shared, "sharing": "mps"} if gpus else {})


@pytest.mark.parametrize(("address", "sharing", "daemons"), [("", "mps", 1), ("", "processes", 0), ("h:1", "mps", 0)])
def test_a_run_has_a_daemon_around_its_own_ray_if_the_grid_asks_for_it(
    tmp_path: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch, address: str, sharing: str, daemons: int
) -> None:
    from engine import run

    def ray() -> NoReturn:
        raise UserError(f"Ray starts, in use: {in_use()}")

    monkeypatch.setattr(run, "_ray", ray)
    monkeypatch.setenv("RAY_ADDRESS", address)
    job = toy_job(tmp_path / "job", resources={"gpus_per_trial": 0.5, "sharing": sharing})
    with pytest.raises(UserError, match=f"in use: {daemons == 1}"):
        run._run_free(job, (), None, None)  # type: ignore[arg-type]
    assert fake.ended_in_order == daemons


@pytest.mark.ray
def test_rays_workers_are_clients(fake: Fake, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from engine.run import _ray

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp")  # Ray's sockets need a shorter one
    with serving(True, plain), _ray():
        assert ray.get(ray.remote(in_use).remote())
    assert fake.ended_in_order == 1
    assert_nothing_is_left(fake, plain)
