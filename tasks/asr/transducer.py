"""A streaming encoder, an Emformer, with the predictor and joiner of an RNN-T.

Sources: Y. Shi et al., "Emformer: Efficient Memory Transformer Based Acoustic Model for Low Latency Streaming Speech
Recognition", ICASSP 2021 (arXiv 2010.10759); A. Graves, "Sequence Transduction with Recurrent Neural Networks", 2012
(arXiv 1211.3711). The network is torchaudio's `emformer_rnnt_model`; `Shape`'s defaults are `emformer_rnnt_base`.

A clip is padded with zeros to whole segments, which count as its own frames in attention, so that the pass over the
whole clip and the one in segments (`tasks.asr.stream`) compute the same. Its summary memory is switched off, as in
`emformer_rnnt_base`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional
from torchaudio.functional import rnnt_loss
from torchaudio.models import emformer_rnnt_model

from grids.errors import UserError
from tasks.asr.frames import FRAME_SECONDS, LogSpectrum
from tasks.examples import head_rows, keyed, linear_head

BANDS = 80
BLANK = 0
MOST_SYMBOLS = 10  # of one frame in greedy decoding; characters of 40 ms are fewer
States = list[list[torch.Tensor]]


@dataclass(frozen=True)
class Shape:
    """Sizes of the network.

    Attributes:
        segment: features of a segment, 10 ms each: what is encoded at once.
        right: features after a segment that it sees: the look-ahead.
        left: frames before a segment that it sees, `reduction` features each.
        reduction: features that are stacked to one frame.
        width: of an Emformer layer.
        heads: of its attention.
        hidden: of its feed-forward part.
        layers: how many.
        encoding: of what the heads and the joiner see.
        dropout: of the layers.
        embedding: of a symbol, and of the predictor's LSTM.
        predictor_layers: of the LSTM.
        predictor_dropout: of the LSTM.
    """

    segment: int = 16
    right: int = 4
    left: int = 30
    reduction: int = 4
    width: int = 512
    heads: int = 8
    hidden: int = 2048
    layers: int = 20
    encoding: int = 1024
    dropout: float = 0.1
    embedding: int = 512
    predictor_layers: int = 3
    predictor_dropout: float = 0.3

    def __post_init__(self) -> None:
        for name, multiple in (("segment", "reduction"), ("right", "reduction"), ("width", "reduction"),
                               ("width", "heads")):  # fmt: skip
            number, of = getattr(self, name), getattr(self, multiple)
            if of < 1 or number < 1 or number % of:
                raise UserError(f"{name} in [options.shape] is {number}; allowed: multiples of {multiple} = {of}")

    @property
    def look_ahead_seconds(self) -> float:
        """Audio after its own segment that a frame waits for."""
        return self.right * FRAME_SECONDS

    @property
    def latency_seconds(self) -> float:
        """Audio that the first frame of a segment waits for: the segment and the look-ahead."""
        return (self.segment + self.right) * FRAME_SECONDS


class Transducer(nn.Module):
    """Waves to encodings, and an RNN-T of symbols.

    Symbols start from the same rows in every mixture of a seed, and all else from the same weights.

    Attributes:
        shape: the sizes.
        symbols: (C), of which the first is the blank.
        width: E, of an encoding.
    """

    def __init__(self, shape: Shape, symbols: Sequence[str], seed: int) -> None:
        super().__init__()
        self.shape, self.symbols, self.width = shape, tuple(symbols), shape.encoding
        self.features = LogSpectrum(BANDS, normalised=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed("emformer", seed) % 2**63)
            self.rnnt = emformer_rnnt_model(
                input_dim=BANDS, encoding_dim=shape.encoding, num_symbols=1, segment_length=shape.segment,
                right_context_length=shape.right, time_reduction_input_dim=shape.width // shape.reduction,
                time_reduction_stride=shape.reduction, transformer_num_heads=shape.heads,
                transformer_ffn_dim=shape.hidden, transformer_num_layers=shape.layers,
                transformer_dropout=shape.dropout, transformer_activation="gelu",
                transformer_left_context_length=shape.left, transformer_max_memory_size=0,
                transformer_weight_init_scale_strategy="depthwise", transformer_tanh_on_mem=True,
                symbol_embedding_dim=shape.embedding, num_lstm_layers=shape.predictor_layers, lstm_layer_norm=True,
                lstm_layer_norm_epsilon=1e-3, lstm_dropout=shape.predictor_dropout,
            )  # fmt: skip
        self.rnnt.joiner.linear = linear_head(self.symbols, shape.encoding, seed)
        rows = head_rows(self.symbols, shape.embedding, seed)
        self.rnnt.predictor.embedding = nn.Embedding.from_pretrained(rows, freeze=False)

    def forward(self, values_KT: torch.Tensor, lengths_K: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, T) waves, 16 kHz, padded with anything, and (K,) lengths -> (K, F, E) and the mask (K, F)."""
        features_KCF, mask_KF = self.features(values_KT, lengths_K)
        segments_K = -(-mask_KF.sum(1) // self.shape.segment)
        whole = int(segments_K.max()) * self.shape.segment + self.shape.right
        features_KFC = functional.pad(features_KCF, (0, whole - features_KCF.shape[2])).transpose(1, 2)
        encodings_KFE, _ = self.rnnt.transcribe(features_KFC, segments_K * self.shape.segment)
        frames_K = self.frames(lengths_K)
        encodings_KFE = encodings_KFE[:, : int(frames_K.max())]
        return encodings_KFE, torch.arange(encodings_KFE.shape[1], device=frames_K.device) < frames_K[:, None]

    def frames(self, lengths_K: torch.Tensor) -> torch.Tensor:
        """(K,) samples -> (K,) frames."""
        return -(-self.features.frames(lengths_K) // self.shape.reduction)

    def transducer_loss(
        self, encodings_BFE: torch.Tensor, frames_B: torch.Tensor, text_BU: torch.Tensor, length_B: torch.Tensor
    ) -> torch.Tensor:
        """(B,) negative log-likelihoods of texts in nats, over all alignments.

        Args:
            encodings_BFE: (B, F, E), F the largest of `frames_B`.
            frames_B: (B,) valid frames.
            text_BU: (B, U) symbols, U the largest of `length_B`.
            length_B: (B,) symbols of each text.
        """
        said_BU = functional.pad(text_BU, (1, 0), value=BLANK)
        predicted_BUE, _, _ = self.rnnt.predict(said_BU, length_B + 1, None)
        logits_BFUC, _, _ = self.rnnt.join(encodings_BFE, frames_B, predicted_BUE, length_B + 1)
        lengths = (text_BU.int(), frames_B.int(), length_B.int())
        return rnnt_loss(logits_BFUC.float(), *lengths, blank=BLANK, clamp=-1, reduction="none")

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.rnnt.joiner.linear.weight.device

    def first(self) -> "Hypothesis":
        """What has been heard before the first frame."""
        return self._after((), BLANK, None)

    def heard(self, before: "Hypothesis", encodings_FE: torch.Tensor) -> "Hypothesis":
        """Greedy RNN-T decoding: the likeliest symbol at each step, over further (F, E) frames of one clip."""
        now = before
        for encoding_E in encodings_FE:
            for _ in range(MOST_SYMBOLS):
                one = torch.ones(1, device=encoding_E.device, dtype=torch.int64)
                logits, _, _ = self.rnnt.join(encoding_E[None, None], one, now.encoding, one)
                symbol = int(logits.argmax())
                if symbol == BLANK:
                    break
                now = self._after(now.symbols, symbol, now.state)
        return now

    def _after(self, symbols: tuple[int, ...], symbol: int, state: States | None) -> "Hypothesis":
        """The hypothesis with one symbol more; the blank begins it."""
        said = torch.tensor([[symbol]], device=self.device)
        encoding, _, state = self.rnnt.predict(said, torch.ones_like(said[0]), state)
        return Hypothesis((*symbols, symbol) if symbol != BLANK else symbols, encoding, state)


@dataclass(frozen=True, eq=False)
class Hypothesis:
    """What greedy RNN-T decoding has heard so far.

    Attributes:
        symbols: their numbers, without the blank.
        encoding: (1, 1, E), of the predictor.
        state: of the predictor.
    """

    symbols: tuple[int, ...]
    encoding: torch.Tensor
    state: States
