"""The processes of a run, for tests that kill them."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def descendants(pid: int) -> dict[int, str]:
    """Every process under one that lives: its number -> its name."""
    found = dict[int, str]()
    for task in Path("/proc", str(pid), "task").glob("*/children"):
        try:
            children = [int(text) for text in task.read_text(encoding="ascii").split()]
        except OSError:  # it has just ended
            continue
        for child in children:
            found |= {child: name_of(child), **descendants(child)}
    return found


def workers(pid: int) -> list[int]:
    """The processes that train the trials of a run."""
    return sorted(child for child, name in descendants(pid).items() if name.startswith("ray::ImplicitFu"))


def name_of(pid: int) -> str:
    """What a process is called, cut to 15 letters; "" if it is over."""
    try:
        return Path("/proc", str(pid), "comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


@contextmanager
def hearing_ctrl_c() -> Iterator[None]:
    """What is started in the block hears SIGINT, which what a shell starts in the background ignores."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def wait_until(what: str, condition: object, seconds: float = 240) -> None:
    """Waits until a function without arguments is true."""
    for _ in range(int(seconds / 0.05)):
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.05)
    raise AssertionError(f"within {seconds} s not: {what}")


def names(folder: Path) -> set[str]:
    """The files in a folder that may not be there yet, without hidden ones."""
    return {path.name for path in folder.glob("[!.]*")}
