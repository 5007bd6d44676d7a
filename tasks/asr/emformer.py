"""Streaming recognition with an Emformer, trained from nothing with CTC, RNN-T, or both.

`tasks.asr.transducer` is the network, `tasks.asr.stream` uses it on audio that is still coming in. A test clip is
decoded in one pass, which computes what the pass in segments does. Training on donors, then on the target is a mixture
in order, "en>ca".
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch

from grids.errors import require
from tasks.asr.system import SCRATCH, CtcOptions, CtcSystem, Recogniser, ctc_loss
from tasks.asr.transducer import Shape, Transducer
from tasks.asr.vocabulary import View
from tasks.augment import augmented
from tasks.base import Batch


@dataclass(frozen=True)
class EmformerOptions(CtcOptions):
    """Options of the system.

    Attributes:
        ctc_weight: of the loss of CTC; RNN-T has the rest. 1: CTC alone, which is then also what decodes; otherwise
            RNN-T decodes, greedily.
        shape: sizes of the network, its segments and its look-ahead.
    """

    ctc_weight: float = 0.3
    shape: Shape = field(default_factory=Shape)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.ctc_weight <= 1, f"ctc_weight in [options] is {self.ctc_weight}; allowed: 0 to 1")
        one = (self.vocabulary, self.heads) == ("mixture", "one")
        require(one or self.ctc_weight == 1, "RNN-T has one vocabulary: vocabulary and heads in [options] need "
                                             "ctc_weight = 1")  # fmt: skip


class StreamingRecogniser(Recogniser):
    """A transducer and a linear layer with a row a symbol, for CTC."""

    encoder: Transducer

    def __init__(self, shape: Shape, symbols: Sequence[str], views: Sequence[View], seed: int) -> None:
        super().__init__(Transducer(shape, symbols, seed), symbols, views, seed)


class Emformer(CtcSystem):
    """Characters by RNN-T and CTC on an Emformer; word and character error rates."""

    Options: ClassVar = EmformerOptions
    train: ClassVar = SCRATCH
    options: EmformerOptions

    def recogniser(self, symbols: Sequence[str], views: Sequence[View], seed: int) -> StreamingRecogniser:
        """A transducer and a head, of the same symbols."""
        return StreamingRecogniser(self.options.shape, symbols, views, seed)

    def loss(self, network: Any, batch: Batch) -> torch.Tensor:
        """(B,) negative log likelihood a character, of CTC and of RNN-T by their weights."""
        heard = augmented(batch, batch.labels)
        encodings_BFE, mask_BF = network.encoder(heard.values, heard.lengths)
        weight, frames_B = self.options.ctc_weight, mask_BF.sum(1)
        loss_B = torch.zeros_like(encodings_BFE[:, 0, 0], dtype=torch.float32)
        if weight:
            logits_BFC = network.head(encodings_BFE).float()
            loss_B = loss_B + weight * ctc_loss(network.views, logits_BFC, frames_B, batch.labels)
        if weight < 1:
            text_BS, length_B = batch.labels["text"], batch.labels["length"]
            found_B = network.encoder.transducer_loss(encodings_BFE, frames_B, text_BS, length_B)
            loss_B = loss_B + (1 - weight) * found_B / length_B
        return loss_B

    def _read(self, network: Any, batch: Batch) -> list[dict[str, np.ndarray]]:
        """`text` (1,) and its `log_probability` (1,), 0, of each clip; with CTC alone as in `CtcSystem`."""
        if self.options.ctc_weight == 1:
            return super()._read(network, batch)
        encodings_KFE, mask_KF = network.encoder(batch.values, batch.lengths)
        heard = [
            network.encoder.heard(network.encoder.first(), e[own])
            for e, own in zip(encodings_KFE, mask_KF, strict=True)
        ]
        return [
            {"text": np.array([network.views[0].vocabulary.decode(one.symbols)]), "log_probability": np.zeros(1)}
            for one in heard
        ]
