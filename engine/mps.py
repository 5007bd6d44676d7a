"""NVIDIA's MPS daemon around trainings that share a GPU: their kernels run side by side instead of in turns.

    with serving(wanted):
        ...                    # processes started here find the daemon through their environment

The daemon is a program of the user's own, in the card's default compute mode; no setting of a card is changed. It is
started and ended by a process of its own, the keeper (`python -m engine.mps FOLDER`), which also ends it when whoever
entered the block dies, however that happens. Not covered: limits of a client's threads or memory, for which NVIDIA's
own variables work; several users on one GPU.

Source: https://docs.nvidia.com/deploy/mps/ ("Appendix: Tools and Interface Reference").
"""

import errno
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from grids.machine import LONGEST_SOCKET_PATH, no_descendants

logger = logging.getLogger(__name__)
PROGRAM = "nvidia-cuda-mps-control"
PIPES, LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
DEFAULT_PIPES = "/tmp/nvidia-mps"  # where CUDA looks without the variable
FOLDER = "cltm-mps-"
LONGEST_SOCKET = f"/{FOLDER}12345678/pipe/control_privileged"  # of the daemon, below the folder for temporary files
START_SECONDS = 30.0  # of the server, which initialises every GPU
QUIT_SECONDS = 3.0  # then what is left is killed
RUNS = "runs"  # what the keeper says when all is well
NO_DAEMON = "GPUs are shared by time slicing, not through MPS: %s"


def in_use() -> bool:
    """Whether a daemon listens where CUDA looks for one, as the environment says.

    A daemon that has ended leaves its socket behind, so that one is asked for. CUDA connects to it in the same way.
    """
    control = Path(os.environ.get(PIPES) or DEFAULT_PIPES, "control")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:  # not the daemon's type: it notices nothing
        try:
            probe.connect(str(control))
        except OSError as error:
            return error.errno == errno.EPROTOTYPE
    return True


@contextmanager
def serving(wanted: bool, place: Path | None = None) -> Iterator[bool]:
    """Runs a daemon for the processes that are started in the block, unless a site's own daemon is there.

    Where it can't be had, one warning says why, and GPUs are shared by time slicing.

    Args:
        wanted: whether to start one at all.
        place: for the daemon's own folder; else the one for temporary files. One that is too long for sockets is not
            used.

    Yields:
        Whether what is started in the block shares GPUs through a daemon.
    """
    there, own = in_use(), os.environ.get(PIPES)
    why = ""
    if own and not there:
        why = f"{PIPES} names {own}, where no daemon listens; start it there, or unset the variable"
    elif shutil.which(PROGRAM) is None:
        why = f"{PROGRAM}, a part of NVIDIA's driver, is not on PATH; add its folder, or set sharing = 'processes'"
    if not wanted or there or why:
        if wanted and not there:
            logger.warning(NO_DAEMON, why)
        yield there
        return
    own_folder = tempfile.TemporaryDirectory(prefix=FOLDER, dir=_short(place), ignore_cleanup_errors=True)
    with own_folder as name, _kept(Path(name)) as said:
        if said != RUNS:
            logger.warning(NO_DAEMON, f"{said}; python -m engine doctor GRID looks for the cause")
        yield said == RUNS


@contextmanager
def _kept(folder: Path) -> Iterator[str]:
    """A keeper with its daemon in a folder, and the environment that leads there. Yields the keeper's word."""
    command = [sys.executable, "-m", "engine.mps", str(folder)]
    with subprocess.Popen(
        command, cwd=Path(__file__).parents[1], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    ) as keeper:  # fmt: skip
        assert keeper.stdin is not None
        assert keeper.stdout is not None
        before = dict(os.environ)
        try:
            said = keeper.stdout.readline().strip() or "its keeper has ended"
            if said == RUNS:
                os.environ.update(_variables(folder))
            yield said
        finally:
            for variable in (PIPES, LOGS):
                os.environ.pop(variable, None)
            os.environ.update({name: before[name] for name in (PIPES, LOGS) if name in before})
            keeper.stdin.close()
            keeper.wait()


def keep(folder: Path) -> int:
    """The keeper: starts the daemon, says so, and ends it when standard input ends. Leaves no process and no folder."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, lambda number, frame: None)  # a job's signals go to every process; no SIG_IGN: inherited
    environ = {**os.environ, **_variables(folder)}
    environ.pop("CUDA_VISIBLE_DEVICES", None)  # the server would number those from 0, and clients choose among them
    try:
        with no_descendants():
            why = _start(folder, environ)
            with suppress(BrokenPipeError):
                print(why or RUNS, flush=True)  # noqa: T201
            if not why:
                sys.stdin.read()
            _quit(environ)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _start(folder: Path, environ: Mapping[str, str]) -> str:
    """Starts the daemon and its server, without which every client would fail. Returns why it could not; else ""."""
    for variable in (PIPES, LOGS):
        Path(environ[variable]).mkdir(mode=0o700)
    output = folder / "output"  # no pipe: the daemon might hold it open
    end = time.monotonic() + START_SECONDS
    try:
        with output.open("w") as file:
            done = subprocess.run(
                [PROGRAM, "-d"], env=environ, stdin=subprocess.DEVNULL, stdout=file, stderr=file, timeout=START_SECONDS
            )
        if done.returncode == 0:
            _say(f"start_server -uid {os.getuid()}", environ)
            while time.monotonic() < end:
                if any(word.isdigit() for word in _say("get_server_list", environ).split()):
                    return ""
                time.sleep(0.1)
    except (OSError, subprocess.SubprocessError) as error:
        return f"{PROGRAM}: {error}"
    texts = [path.read_text(errors="replace").strip() for path in (*sorted(Path(environ[LOGS]).glob("*.log")), output)]
    return f"{PROGRAM} does not start: {(['it says nothing', *filter(None, texts)][-1]).splitlines()[-1]}"


def _quit(environ: Mapping[str, str]) -> None:
    """Asks the daemon to end, and waits for it and its server."""
    end = time.monotonic() + QUIT_SECONDS
    with suppress(OSError, subprocess.SubprocessError):
        _say("quit", environ)
    with suppress(ChildProcessError):  # none is left
        while time.monotonic() < end:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)


def _say(command: str, environ: Mapping[str, str]) -> str:
    """What the daemon answers to a command."""
    return subprocess.run(
        [PROGRAM], input=f"{command}\n", env=environ, capture_output=True, text=True, timeout=QUIT_SECONDS
    ).stdout


def _variables(folder: Path) -> dict[str, str]:
    """What leads the daemon and its clients to its folder."""
    return {PIPES: str(folder / "pipe"), LOGS: str(folder / "log")}


def _short(place: Path | None) -> str:
    """The place, or the folder for temporary files, if the daemon's sockets fit below it; else /tmp."""
    wanted = str(place or tempfile.gettempdir())
    return wanted if len(os.fsencode(wanted + LONGEST_SOCKET)) <= LONGEST_SOCKET_PATH else "/tmp"


if __name__ == "__main__":
    sys.exit(keep(Path(sys.argv[1])))
