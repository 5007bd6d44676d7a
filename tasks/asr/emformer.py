"""Streaming recognition with an Emformer, trained from nothing with CTC, RNN-T, or both.

`tasks.asr.transducer` is the network, `tasks.asr.stream` uses it on audio that is still coming in. A test clip is
decoded in one pass, which computes what the pass in segments does. Training on donors, then on the target is a mixture
in order, "en>ca".
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch

from grids.errors import UserError
from tasks.asr.scratch import Recogniser, ScratchOptions, ScratchSystem, ctc_loss
from tasks.asr.transducer import Shape, Transducer
from tasks.asr.vocabulary import Vocabulary
from tasks.base import Batch, Setup


@dataclass(frozen=True)
class EmformerOptions(ScratchOptions):
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
        if not 0 <= self.ctc_weight <= 1:
            raise UserError(f"ctc_weight in [options] is {self.ctc_weight}; allowed: 0 to 1")


class StreamingRecogniser(Recogniser):
    """A transducer with a row a character for CTC.

    Attributes:
        ctc: whether CTC decodes.
    """

    encoder: Transducer

    def __init__(self, options: EmformerOptions, vocabulary: Vocabulary, setup: Setup) -> None:
        encoder = Transducer(options.shape, vocabulary.symbols, setup.seed)
        super().__init__(encoder, encoder.width, vocabulary, setup)
        self.ctc = options.ctc_weight == 1

    def texts(self, batch: Batch) -> list[str]:
        """What each clip says, by the likeliest symbol of each step of the transducer, or by CTC."""
        if self.ctc:
            return super().texts(batch)
        encodings_KFE, mask_KF = self.encoder(batch.values, batch.lengths)
        heard = [
            self.encoder.heard(self.encoder.first(), e[own]) for e, own in zip(encodings_KFE, mask_KF, strict=True)
        ]
        return [self.vocabulary.decode(one.symbols) for one in heard]


class Emformer(ScratchSystem):
    """Characters by RNN-T and CTC on an Emformer; word and character error rates."""

    Options: ClassVar = EmformerOptions
    options: EmformerOptions

    def network(self, setup: Setup) -> StreamingRecogniser:
        """A transducer drawn from the seed, and a row a character of the mixture's text in each of its parts."""
        return StreamingRecogniser(self.options, self.vocabulary(setup), setup)

    def loss(self, network: Any, batch: Batch) -> torch.Tensor:
        """(B,) negative log-likelihoods of the texts in nats, of CTC and RNN-T by their weights."""
        encodings_BFE, mask_BF = network.encoder(batch.values, batch.lengths)
        weight, frames_B = self.options.ctc_weight, mask_BF.sum(1)
        losses_B = torch.zeros(len(frames_B), device=frames_B.device)
        if weight:
            losses_B = losses_B + weight * ctc_loss(network.log_probabilities(encodings_BFE), frames_B, batch)
        if weight < 1:
            text = batch.labels["text"], batch.labels["length"]
            losses_B = losses_B + (1 - weight) * network.encoder.transducer_loss(encodings_BFE, frames_B, *text)
        return losses_B
