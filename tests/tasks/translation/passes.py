"""How often Whisper's encoder runs."""

from typing import Any

import pytest
import torch
from transformers.models.whisper.modeling_whisper import WhisperEncoder


def counted_passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that gets the number of clips of each pass through any encoder from now on."""
    passes: list[int] = []
    forward = WhisperEncoder.forward

    def counted(self: Any, features: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        passes.append(len(features))
        return forward(self, features, *args, **kwargs)

    monkeypatch.setattr(WhisperEncoder, "forward", counted)
    return passes
