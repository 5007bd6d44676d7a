"""Processes that do what they are asked, with a time limit: all that touches the device happens in them.

A process imports what it is asked for by name, so the one that asks stays without torch's device and outlives it.
"""

import multiprocessing
import os
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from multiprocessing.connection import Connection
from typing import Any

PACKAGE = __package__ or "tests.benchmarks.device"
SETTLE_SECONDS = 5.0  # for a process to end


class FailedError(Exception):
    """A process could not do what it was asked; says why in one line."""


class Worker:
    """A process of its own, without a GPU context until it is asked for something that needs one."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other,), daemon=True)
        self._process.start()
        other.close()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    def ask(self, what: str, *arguments: object) -> None:
        """Starts `module.function(*arguments)` of this package there."""
        try:
            self._line.send((what, arguments))
        except OSError as error:
            raise FailedError(f"the process has ended: {error}") from None

    def answer(self, seconds: float) -> Any:
        """What came of it.

        Raises:
            FailedError: it failed, ended, or took longer than so many seconds.
        """
        try:
            if not self._line.poll(max(seconds, 0)):
                raise FailedError(f"no answer within {seconds:.0f} s")
            went_well, value = self._line.recv()
        except (EOFError, OSError):
            self._process.join(SETTLE_SECONDS)
            raise FailedError(f"the process has ended with status {self._process.exitcode}") from None
        if not went_well:
            raise FailedError(value)
        return value

    def call(self, what: str, *arguments: object, seconds: float) -> Any:
        """Asks and waits; see `answer`."""
        self.ask(what, *arguments)
        return self.answer(seconds)

    def kill(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.join(SETTLE_SECONDS)
        self._line.close()


@contextmanager
def crew(size: int) -> Iterator[list[Worker]]:
    """So many processes, killed in the end."""
    workers = [Worker() for _ in range(size)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()


def ask_all(workers: Sequence[Worker], what: str, *arguments: object, seconds: float) -> list[Any]:
    """Asks all at once, each with its place as a further argument.

    Raises:
        FailedError: one of them failed.
    """
    end = time.monotonic() + seconds
    for place, worker in enumerate(workers):
        worker.ask(what, *arguments, place)
    return [worker.answer(end - time.monotonic()) for worker in workers]


def _serve(line: Connection) -> None:
    """What a process does: what it is asked, one after the other, until nobody asks any more."""
    os.environ.update(HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1")  # before torch: a trial has one thread
    while True:
        try:
            what, arguments = line.recv()
        except EOFError:
            return
        module, _, name = what.partition(".")
        try:
            found = getattr(import_module(f"{PACKAGE}.{module}"), name)(*arguments)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            text = " ".join(str(error).split())[:300]
            found = f"{type(error).__name__}: {text} ({os.path.basename(last.filename)}:{last.lineno})"  # noqa: PTH119
            line.send((False, found))
        else:
            line.send((True, found))
