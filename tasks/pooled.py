"""A clip's class from its mean frame: the network of tasks that name what a whole clip is."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.base import Batch, Output
from tasks.checkpoint import write_card, write_plain
from tasks.encoder import Encoder, masked_mean
from tasks.examples import linear_head

logger = logging.getLogger(__name__)
HEAD = "classifier"  # where transformers has the head


@dataclass(frozen=True)
class Classes:
    """What the weights of a `PooledClassifier` do not say.

    Attributes:
        names: the classes, in the order of the rows of the head.
    """

    names: tuple[str, ...]


class PooledClassifier(nn.Module):
    """Encoder, mean over a clip's own frames, one linear layer.

    Attributes:
        names: (C) the classes, in the order of the rows of the head.
    """

    def __init__(self, encoder: Encoder, names: Sequence[str], seed: int) -> None:
        super().__init__()
        self.encoder, self.names = encoder, tuple(names)
        self.head = linear_head(names, encoder.width, seed)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the embeddings (K, H) and the logits (K, C)."""
        frames = self.encoder(batch.values, batch.lengths, padded=batch.padded)
        embedding_KH = masked_mean(frames.last, frames.mask)
        return embedding_KH, self.head(embedding_KH)

    def outputs(self, batch: Batch) -> list[Output]:
        """`embedding` (H,) and `probability` (C,) a clip."""
        embedding_KH, logits_KC = self(batch)
        probability_KC = logits_KC.float().softmax(1).cpu().numpy()
        embeddings = embedding_KH.float().cpu().numpy()
        return [{"embedding": e, "probability": p} for e, p in zip(embeddings, probability_KC, strict=True)]

    def write(self, task: Any, folder: Path) -> None:
        """Writes the network of a task into a folder that is there, as transformers' class for audio classification.

        That has a projection before the mean, which is made to change nothing. It has no place for Whisper's windows.
        """
        if self.encoder.model.config.model_type == "whisper":
            logger.warning("a network on Whisper is kept as its weights alone: no class of transformers is like it")
            return
        from transformers import AutoModelForAudioClassification

        write_card(task, Classes(self.names), folder)
        same = nn.Linear(self.encoder.width, self.encoder.width)
        nn.init.eye_(same.weight)
        nn.init.zeros_(same.bias)
        labels = dict(enumerate(self.names))
        settings = {"id2label": labels, "label2id": {name: row for row, name in labels.items()},
                    "classifier_proj_size": self.encoder.width, "use_weighted_layer_sum": False}  # fmt: skip
        parts = {"projector": same, HEAD: self.head}
        write_plain(self.encoder, AutoModelForAudioClassification, settings, parts, folder)
