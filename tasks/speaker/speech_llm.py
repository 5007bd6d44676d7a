"""Speaker verification by a frozen speech LLM and a small classifier of pairs (method: section 6).

The LLM runs: a clip's embedding is the mean over its audio positions of a hidden layer of the language model
(`tasks.audio_llm`), computed once a clip and cached. What learns is a perceptron on [|a - b|, a * b] of two embeddings,
with binary cross-entropy; its probability scores the pair.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from grids.grid import Model, Train
from tasks.audio_llm import AudioLLM
from tasks.base import Batch, Example, Frozen, Scored, Setup, Tests
from tasks.data.clips import Clip
from tasks.examples import keyed
from tasks.speaker.pairs import same_speaker, training_pairs
from tasks.speaker.system import SpeakerSystem
from tasks.speaker.verification import PairOptions, Pairs, cosine_scores, score_embeddings

PAIRS_AT_ONCE = 4096  # bounds the memory of a scoring step: 270 MB of features at 4096 dimensions


@dataclass(frozen=True)
class SpeechLLMOptions(PairOptions):
    """Options of the system.

    Attributes:
        layer: hidden layer of the language model whose mean is the embedding: 1 is its first, -1 its last.
        prompt: text before the audio, in the user's turn.
    """

    layer: int = -1
    prompt: str = ""


class PairClassifier(nn.Module):
    """[|a - b|, a * b] -> 512 -> 256 -> 1, on standardised embeddings.

    Embeddings of a language model share a large common part; batch norm without weights of its own takes it away. An
    untouched classifier knows nothing: pairs then score by cosine.
    """

    def __init__(self, width: int, seed: int, *, untouched: bool) -> None:
        super().__init__()
        self.untouched = untouched
        self.standardise = nn.BatchNorm1d(width, affine=False)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed("pairs", seed) % 2**63)
            self.layers = nn.Sequential(
                nn.Linear(2 * width, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 1)
            )

    def embed(self, batch: Batch) -> torch.Tensor:
        """(K, H) embeddings, as the LLM gives them."""
        return batch.values[:, 0]

    def forward(self, left_PH: torch.Tensor, right_PH: torch.Tensor) -> torch.Tensor:
        """Logits of "the same speaker", (P,), of pairs of standardised embeddings."""
        return self.layers(torch.cat([(left_PH - right_PH).abs(), left_PH * right_PH], dim=1))[:, 0]

    @torch.no_grad()
    def similarity(self, embeddings_NH: np.ndarray, pairs: Pairs) -> np.ndarray:
        """(P,) float64 probabilities that the sides of each pair are one speaker, in bounded memory."""
        if self.untouched:
            return cosine_scores(embeddings_NH, pairs)
        device = next(self.parameters()).device
        unit_NH = self.standardise(torch.from_numpy(embeddings_NH).to(device))
        starts = range(0, len(pairs.left), PAIRS_AT_ONCE)
        sides = [(pairs.left[s : s + PAIRS_AT_ONCE], pairs.right[s : s + PAIRS_AT_ONCE]) for s in starts]
        return torch.cat([self(unit_NH[a], unit_NH[b]).double().sigmoid() for a, b in sides]).cpu().numpy()


class SpeechLLM(SpeakerSystem):
    """A frozen speech LLM of transformers; pairs of its embeddings are classified."""

    Options: ClassVar = SpeechLLMOptions
    train: ClassVar = Train(learning_rate=1e-3, weight_decay=0.01, epochs=20, batch_size=32)
    recordable: ClassVar = True

    options: SpeechLLMOptions

    def __init__(self, options: SpeechLLMOptions, model: Model) -> None:
        super().__init__(options, model)
        self.llm = AudioLLM(model.backbone, options.layer, options.prompt)

    def weights_sha(self) -> str:
        """The LLM's, its tokenizer and chat template included."""
        self.llm.check()
        return self.llm.sha()

    def network(self, setup: Setup) -> PairClassifier:
        """The classifier alone; its first weights depend on the seed alone."""
        return PairClassifier(self.llm.width, setup.seed, untouched=not setup.clips)

    def frozen(self, network: PairClassifier) -> Frozen:
        """The LLM."""
        device = next(network.parameters()).device

        def compute(batch: Batch) -> list[np.ndarray]:
            waves = zip(batch.values.float().cpu().numpy(), batch.lengths.tolist(), strict=True)
            return [self.llm.embed(wave_T[:length], device) for wave_T, length in waves]

        return Frozen(self.llm.key(device), compute)

    def examples(self, network: PairClassifier, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """Two pairs a clip, one of each kind."""
        return training_pairs(clips, seed, epoch)

    def labels(self, network: PairClassifier, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`same`: (B,) bool."""
        return {"same": same_speaker(examples)}

    def loss(self, network: PairClassifier, batch: Batch) -> torch.Tensor:
        """(B,) binary cross-entropy."""
        left_BH, right_BH = network.standardise(network.embed(batch)).unflatten(0, (-1, 2)).unbind(1)
        logits_B = network(left_BH, right_BH).float()
        return functional.binary_cross_entropy_with_logits(logits_B, batch.labels["same"].float(), reduction="none")

    def score(self, network: PairClassifier, tests: Mapping[str, Tests]) -> Scored:
        """AUC, EER, minDCF a language, from the classifier's probabilities."""
        return score_embeddings(tests, network.similarity, self.options)
