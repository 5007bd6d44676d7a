"""A clip's class from its mean frame: the network of tasks that name what a whole clip is."""

from collections.abc import Sequence

import torch
from torch import nn

from tasks.backbones import Encoder, masked_mean
from tasks.base import Batch, Output
from tasks.examples import linear_head


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
        frames = self.encoder(batch.values, batch.lengths)
        embedding_KH = masked_mean(frames.last, frames.mask)
        return embedding_KH, self.head(embedding_KH)

    def outputs(self, batch: Batch) -> list[Output]:
        """`embedding` (H,) and `probability` (C,) a clip."""
        embedding_KH, logits_KC = self(batch)
        probability_KC = logits_KC.float().softmax(1).cpu().numpy()
        embeddings = embedding_KH.float().cpu().numpy()
        return [{"embedding": e, "probability": p} for e, p in zip(embeddings, probability_KC, strict=True)]
