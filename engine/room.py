"""How much audio a batch of evaluation may hold: as much as fits into a trial's share of its GPU.

A process keeps within its share (`set_per_process_memory_fraction`), so that a neighbour cannot run out of memory for
it. What a second of audio takes is measured once a process and kind of network; a batch that does not fit all the same
is halved, and later ones are no larger. After an evaluation the memory is given back.
"""

from collections.abc import Callable
from functools import cache

import torch

from grids.machine import CONTEXT_BYTES

PROBE_SECONDS, MOST_SECONDS = 30.0, 600.0  # of audio, in the batch that is measured and in the largest
MARGIN = 0.8  # of what is free: memory is never used without gaps


class Room:
    """The size of a batch of evaluation.

    Attributes:
        seconds: of audio in a batch, padding included.
        is_measured: whether memory decides, so that what evaluation holds says nothing of what a trial needs.
    """

    is_measured = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def measure(self, score: Callable[[float], float]) -> None:
        """Finds the size, if it is not known.

        Args:
            score: scores a batch of at most so many seconds and says how many it had, padding included.
        """

    def shrink(self, seconds: float) -> None:
        """A batch of so many seconds did not fit: later ones have half of them at most."""
        self.seconds = min(self.seconds, seconds / 2)

    def give_back(self) -> None:
        """Returns the memory that no tensor uses."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class SharedRoom(Room):
    """Room on a GPU, of which this process may use a share.

    Args:
        device: the GPU.
        share: of its memory, up to 1.
        seconds: of a batch; 0: what fits.
    """

    def __init__(self, device: torch.device, share: float, seconds: float = 0.0) -> None:
        super().__init__(seconds or MOST_SECONDS)
        self._device, self._known, self.is_measured = device, bool(seconds), not seconds
        whole = torch.cuda.get_device_properties(device).total_memory
        self._allowed = max(int(share * whole) - CONTEXT_BYTES, 0)
        torch.cuda.set_per_process_memory_fraction(self._allowed / whole, device)

    def measure(self, score: Callable[[float], float]) -> None:
        """See `Room`."""
        if self._known:
            return
        self._known = True
        self.give_back()
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        scored = score(PROBE_SECONDS)
        taken = torch.cuda.max_memory_allocated(self._device) - before
        self.give_back()
        free = self._allowed - torch.cuda.memory_reserved(self._device)
        self.seconds = seconds_that_fit(free, taken / scored)


def seconds_that_fit(free: int, bytes_a_second: float) -> float:
    """Seconds of audio in a batch, for free bytes and what a second takes."""
    fit = MARGIN * free / max(bytes_a_second, 1.0)
    return float(min(max(fit, PROBE_SECONDS), MOST_SECONDS))


@cache
def shared_room(device: torch.device, share: float, kind: str, seconds: float = 0.0) -> SharedRoom:
    """The room of a kind of network, remembered for the life of the process."""
    return SharedRoom(device, share, seconds)
