"""The state of a long training on disk, to go on from after a crash, a full node or a stop that was asked for.

A training of less than `checkpoint_seconds` leaves none: it is quicker to train again. A state is bound to what it was
made with (configuration, data, program, numerics); under another one the training starts anew.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch

from grids.files import replacing

logger = logging.getLogger(__name__)
PAUSE_AFTER_S = 30.0  # a training asked to stop that is younger (or whose state is) goes on until then
ASK_EVERY_S = 1.0


class PausedError(Exception):
    """The training was asked to stop and has left its state."""


class Checkpoints:
    """Where and how often a training leaves its state.

    Args:
        path: of the state; the folder is made.
        made_with: what a state is bound to, as plain values.
        every_s: seconds between two states; 0: none but when asked to stop.
        asked_to_stop: whether the training should end soon.
    """

    def __init__(
        self, path: Path, made_with: Mapping[str, Any], every_s: float, asked_to_stop: Callable[[], bool]
    ) -> None:
        self._path, self._made_with = path, json.dumps(made_with, sort_keys=True)
        self._every_s, self._asked_to_stop = every_s, asked_to_stop
        self._last = self._asked = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state to go on from; None if there is none that can be used."""
        if not self._path.exists():
            return None
        try:
            kept: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
            if kept["made_with"] == self._made_with:
                return kept["state"]  # type: ignore[no-any-return]
            logger.warning("%s was made with other settings; the training starts anew", self._path)
        except Exception as error:  # of a damaged file; torch raises many kinds
            logger.warning("%s can't be read (%s); the training starts anew", self._path, type(error).__name__)
        return None

    def due(self) -> Literal["", "save", "pause"]:
        """What to do after a step."""
        now = time.monotonic()
        if now - self._asked < ASK_EVERY_S:
            return ""
        self._asked = now
        if now - self._last >= PAUSE_AFTER_S and self._asked_to_stop():
            return "pause"
        return "save" if self._every_s and now - self._last >= self._every_s else ""

    def save(self, state: Mapping[str, Any]) -> None:
        """Writes the state in place of an older one."""
        with replacing(self._path) as partial:
            torch.save({"made_with": self._made_with, "state": dict(state)}, partial)
        self._last = time.monotonic()
