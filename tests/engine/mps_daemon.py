"""A stand-in for NVIDIA's MPS daemon: `nvidia-cuda-mps-control` as a script, with what the real one shows of itself.

`-d` goes into the background, refuses a folder in which one runs, and makes `control`, `control_privileged`, `log` and
a file with its number; sockets stay when it ends, as the real one's do. Commands come on standard input.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path

SCRIPT = """#!{python} -IS
import json, os, signal, socket, subprocess, sys, time
pipes, logs, fails = os.environ["CUDA_MPS_PIPE_DIRECTORY"], os.environ["CUDA_MPS_LOG_DIRECTORY"], {fails!r}
control = pipes + "/control"


def ask(command):
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.connect(control)
        line.send(command.encode())
        return line.recv(1000).decode()


def clients():
    wanted, count = ("CUDA_MPS_PIPE_DIRECTORY=" + pipes).encode(), 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/environ" % pid, "rb") as environ, open("/proc/%s/cmdline" % pid, "rb") as command:
                count += wanted in environ.read().split(b"\\0") and b"nvidia-cuda-mps-control" not in command.read()
        except OSError:
            pass
    return count


def daemon():
    doors = []
    for name in ("control", "control_privileged"):
        doors.append(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
        doors[-1].bind(pipes + "/" + name)
        doors[-1].listen()
    os.mkfifo(pipes + "/log")
    open(pipes + "/nvidia-cuda-mps-control.pid", "w").write(str(os.getpid()))
    open(logs + "/control.log", "w").write("[Control] Starting control daemon\\n")
    seen = dict(os.environ, pid=os.getpid(), mode=oct(os.stat(pipes + "/..").st_mode & 0o777), folder=pipes)
    with open({notes!r} + "/%d.part" % os.getpid(), "w") as file:
        json.dump(seen, file)
    os.rename(file.name, file.name[:-4] + "json")
    servers = []
    while True:
        line, _ = doors[0].accept()
        command = line.recv(1000).decode().strip()
        if command.startswith("start_server -uid %d" % os.getuid()):
            if fails == "no server":
                open(logs + "/server.log", "a").write("[Server] Failed to start : system not yet initialized\\n")
            else:
                servers.append(subprocess.Popen([{python!r}, "-IS", "-c", "import time; time.sleep(600)"]))
        answer = "\\n".join(str(server.pid) for server in servers) if command == "get_server_list" else ""
        if command == "quit" and fails != "deaf":
            for server in servers:
                server.kill()
                server.wait()
            os.unlink(pipes + "/nvidia-cuda-mps-control.pid")
            with open({notes!r} + "/%d.quit" % os.getpid(), "w") as file:
                file.write(str(clients()))
        line.send((answer + "\\n").encode())
        if command == "quit" and fails != "deaf":
            os._exit(0)


if sys.argv[1:] == ["-d"]:
    if fails == "refuses":
        sys.exit("Cannot create the control daemon: no such device")
    try:
        ask("get_server_list")
        sys.exit("An instance of this daemon is already running")
    except OSError:
        pass
    ready, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        for number in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        try:
            daemon()
        finally:
            os._exit(1)
    os.close(tell)
    os.wait()
    while not os.path.exists(pipes + "/nvidia-cuda-mps-control.pid"):
        time.sleep(0.01)
else:
    for command in sys.stdin:
        try:
            print(ask(command), end="")
        except OSError:
            sys.exit("Cannot find MPS control daemon process")
"""


@dataclass(frozen=True)
class Fake:
    """An installed stand-in.

    Attributes:
        path: the PATH that finds it.
        notes: where each of its daemons notes its number and environment, and that it was asked to quit.
    """

    path: str
    notes: Path

    @property
    def ended_in_order(self) -> int:
        """How many daemons have done as `quit` asks."""
        return len(list(self.notes.glob("*.quit")))

    @property
    def clients_at_quit(self) -> list[str]:
        """How many processes could have been clients when each daemon was asked to quit."""
        return [path.read_text() for path in self.notes.glob("*.quit")]


def install(folder: Path, fails: str = "") -> Fake:
    """Writes the stand-in. It may fail: "refuses" to start, has "no server", is "deaf" to `quit`."""
    notes, script = folder / "notes", folder / "bin" / "nvidia-cuda-mps-control"
    notes.mkdir(parents=True)
    script.parent.mkdir()
    script.write_text(SCRIPT.format(python=sys.executable, fails=fails, notes=str(notes)))
    script.chmod(0o755)
    return Fake(f"{script.parent}:{os.environ['PATH']}", notes)


def processes(folder: Path) -> list[int]:
    """The processes whose environment names this folder of pipes: the daemon, its server, and clients."""
    wanted = f"CUDA_MPS_PIPE_DIRECTORY={folder}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found += [int(path.parent.name)] if wanted in path.read_bytes().split(b"\0") else []
        except OSError:  # it has ended, or is another user's
            continue
    return found
