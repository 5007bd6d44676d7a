"""Which run is training which trial, so that several jobs or machines can fill one results folder.

    results/<grid>/
        runs/<run id>     a run that goes on: its driver touches the file every few seconds
        claims/<slug>     a trial that is being trained: a hard link to the file of the run that trains it

A hard link is there at once or not at all, on NFS too, and it shares the file's content, time and lock: whoever sees a
claim sees whether its run lives. A run is dead when its file was not touched for `STALE_SECONDS` by the file system's
clock (hosts' clocks differ), or, on one machine, when nobody holds the file's lock. Dead runs' claims are taken over.

A line "stop" at the end of a run's file asks the run to stop: `echo stop >> results/<grid>/runs/<run id>`.

Not covered: on file systems without hard links runs don't see each other, and a trial may be trained twice. That costs
time and damages nothing.
"""

import errno
import fcntl
import logging
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO, TextIO

from engine.store import FOLDER_NAME
from grids.errors import UserError
from grids.files import writing_to

logger = logging.getLogger(__name__)
RUNS, CLAIMS = "runs", "claims"  # subfolders of a results folder
BEAT_SECONDS, STALE_SECONDS, LOOK_SECONDS = 5.0, 60.0, 1.0
LOCK_SECONDS = 120.0  # a folder's lock is held for moments
STOP = b"stop"
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK, errno.EXDEV)


@dataclass(frozen=True)
class Run:
    """One run of the engine on a results folder. Travels to workers; `running` makes it."""

    folder: Path
    name: str

    @property
    def path(self) -> Path:
        """The run's file."""
        return self.folder / RUNS / self.name

    def claim(self, slug: str) -> bool:
        """Makes a trial this run's own. False if another run that lives has it, or this run is over."""
        path = self._claims / slug
        for _ in range(3):  # what a dead run held is taken away; then somebody else may be faster
            try:
                path.hardlink_to(self.path)
                return True
            except FileExistsError:
                if self._is_own(path):
                    return True
                if self._is_held(path):
                    return False
            except FileNotFoundError:
                return False
            except OSError as error:
                if error.errno not in NO_LINKS:
                    raise
                logger.warning("no hard links in %s: other runs are not seen: %s", self.folder, error.strerror)
                return True
        return False

    def release(self, slug: str) -> None:
        """Gives a trial back, if it is this run's."""
        path = self._claims / slug
        if self._is_own(path):
            path.unlink(missing_ok=True)

    def claimed(self) -> list[str]:
        """The trials that this run trains now."""
        return [path.name for path in self._claims.iterdir() if self._is_own(path)]

    def has_company(self) -> bool:
        """Whether other runs fill the folder now. What dead runs left is removed."""
        for path in (self.folder / RUNS).iterdir():
            if path != self.path and not self._lives(path):
                path.unlink(missing_ok=True)
        return len(list((self.folder / RUNS).iterdir())) > 1

    def held(self) -> frozenset[str]:
        """The trials that other runs train now. What dead runs left is removed."""
        return frozenset(path.name for path in self._claims.iterdir() if not self._is_own(path) and self._is_held(path))

    def ask_to_stop(self) -> None:
        """No new trial starts; those that run finish, or checkpoint and pause."""
        with self.path.open("ab") as file:
            file.write(STOP + b"\n")

    def is_stopping(self) -> bool:
        """Whether the run was asked to stop, or is over."""
        try:
            return STOP in self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return True

    @property
    def _claims(self) -> Path:
        return self.folder / CLAIMS

    def _is_own(self, path: Path) -> bool:
        with suppress(FileNotFoundError):
            return path.samefile(self.path)
        return False

    def _is_held(self, path: Path) -> bool:
        """Whether a claim is of a run that lives. If not, it is taken away."""
        try:
            judged = path.stat().st_ino
        except FileNotFoundError:
            return False
        if self._lives(path):
            return True
        aside = path.with_name(f".{secrets.token_hex(4)}-{path.name}")
        with suppress(FileNotFoundError):  # somebody else was faster
            path.rename(aside)
            if aside.stat().st_ino != judged:  # by now it was claimed again: give it back
                with suppress(FileExistsError):
                    path.hardlink_to(aside)
            aside.unlink()
        return False

    def _lives(self, path: Path) -> bool:
        """Whether the run behind a run's file, or behind a claim, lives."""
        try:  # opened, since a network file system may answer a mere stat from memory
            with self.path.open("rb") as own, path.open("rb") as file:
                age = os.fstat(own.fileno()).st_mtime - os.fstat(file.fileno()).st_mtime
                return age <= STALE_SECONDS and not (file.readline().strip() == _machine() and _is_unlocked(file))
        except FileNotFoundError:
            return False


@contextmanager
def running(folder: Path) -> Iterator[Run]:
    """A run on a results folder, from here until the block ends.

    Raises:
        UserError: the folder cannot be written to.
    """
    run = Run(folder, f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}")
    over = threading.Event()
    with _run_file(run):
        beat = threading.Thread(target=_beat, args=(run.path, over), daemon=True)
        beat.start()
        try:
            yield run
        finally:
            over.set()
            beat.join()
            for slug in run.claimed():
                run.release(slug)
            run.path.unlink(missing_ok=True)


def _run_file(run: Run) -> BinaryIO:
    """Makes the run's file, which nobody sees before it is locked, and keeps the lock while it is open."""
    fresh = run.path.with_name(f".{run.name}")
    with writing_to(run.folder, FOLDER_NAME):
        for folder in (run.path.parent, run.folder / CLAIMS):
            folder.mkdir(exist_ok=True)
        file = fresh.open("wb")
        file.write(_machine() + b"\n")
        file.flush()
        with suppress(OSError):  # of a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)
        fresh.rename(run.path)
    return file


@contextmanager
def stopping_on_signals(run: Run) -> Iterator[None]:
    """SIGTERM and SIGUSR1 ask the run to stop; the second signal ends it at once, as Ctrl-C does."""

    def ask(number: int, frame: FrameType | None) -> None:
        if run.is_stopping():
            raise KeyboardInterrupt
        run.ask_to_stop()

    before = {number: signal.signal(number, ask) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_watch(run: Run) -> Callable[[], bool]:
    """`run.is_stopping`, which looks no oftener than once a second."""
    seen, last = False, float("-inf")

    def is_stopping() -> bool:
        nonlocal seen, last
        if not seen and time.monotonic() - last >= LOOK_SECONDS:
            seen, last = run.is_stopping(), time.monotonic()
        return seen

    return is_stopping


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keeps other processes out of such blocks on one folder; on file systems without locks, does not.

    Raises:
        UserError: the folder cannot be written to, or another process does not come to the end of its block.
    """
    with writing_to(folder, FOLDER_NAME):
        file = (folder / ".lock").open("w")
    with file:
        _lock(file, folder)
        yield


def _lock(file: TextIO, folder: Path) -> None:
    """Waits for the lock, a limited time."""
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise UserError(f"another process has locked {str(folder)!r} for {LOCK_SECONDS:g} s") from None
            time.sleep(0.05)
        except OSError as error:
            return logger.info("no locks on %s: %s", folder, error)


def _beat(path: Path, over: threading.Event) -> None:
    """Touches the run's file until the run is over; None stands for the file system's own time."""
    while not over.wait(BEAT_SECONDS):
        try:
            os.utime(path, None)
        except OSError as error:
            logger.warning("cannot touch %s: %s", path, error.strerror)


def _is_unlocked(file: BinaryIO) -> bool:
    """Whether nobody holds the file's lock. Where there are no locks, nobody knows."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _machine() -> bytes:
    """The same in all containers of a machine, which share its locks, and different after a restart."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes().strip()
