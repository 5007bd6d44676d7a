"""Speaker verification with ECAPA-TDNN, trained from nothing to tell the training speakers apart.

Source: B. Desplanques, J. Thienpondt, K. Demuynck, "ECAPA-TDNN: Emphasized Channel Attention, Propagation and
Aggregation in TDNN Based Speaker Verification", Interspeech 2020 (arXiv 2005.07143), figure 2 and section 3; the margin
loss from J. Deng et al., "ArcFace", CVPR 2019, equation 3. The paper trains on 2 s crops, so a training batch has no
padding that batch norm could see; in scoring every convolution, mean and attention leaves the padding out.

The network has no backbone: `backbone = "none"` in [model], or a folder with `model.safetensors`, a checkpoint of this
task, whose embedding network is the starting point.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from grids.errors import UserError
from grids.files import expanded
from grids.grid import NO_BACKBONE, Train
from tasks.augment import Augmentation
from tasks.backbones import fingerprint
from tasks.base import Batch, Example, Setup
from tasks.data.clips import Clip
from tasks.examples import keyed, linear_head
from tasks.speaker.crops import crop_examples, crop_size, cropped, draw
from tasks.speaker.features import BANDS, Features, Kind
from tasks.speaker.system import SpeakerSystem, speaker_rows, speakers_of
from tasks.speaker.verification import CosineOptions

SCALE = 8  # groups of a Res2Net block
DILATIONS = (2, 3, 4)
BOTTLENECK = 128  # of squeeze-excitation and of attention
SHARPNESS, MARGIN = 30.0, 0.2  # of the AAM-softmax
SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True)
class EcapaOptions(CosineOptions):
    """Options of the system.

    Attributes:
        channels: C, of the convolutions; published are 512 and 1024.
        aggregated: channels after the aggregation of all blocks; published are 1536. Fewer make a small network.
        embedding: size of an embedding.
        features: "mfcc" (as published) or "logmel".
        crop_seconds: length of a training crop; test clips are whole.
        augmentation: what is done to training crops.
    """

    channels: int = 512
    aggregated: int = 1536
    embedding: int = 192
    features: Kind = "mfcc"
    crop_seconds: float = 2.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.channels < SCALE or self.channels % SCALE:
            raise UserError(f"channels in [options] is {self.channels}; allowed: multiples of {SCALE}")
        for name in ("aggregated", "embedding"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} in [options] is {getattr(self, name)}; allowed: >= 1")
        crop_size(self.crop_seconds)


class FrameLayer(nn.Module):
    """Convolution over time, ReLU, batch norm; keeps the number of frames."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv1d(inputs, outputs, kernel, dilation=dilation, padding="same")
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, hidden_KCF: torch.Tensor) -> torch.Tensor:
        """(K, inputs, F), 0 in the padding, -> (K, outputs, F)."""
        return self.norm(self.conv(hidden_KCF).relu())


class Res2Net(nn.Module):
    """Groups of channels, each convolved after the outcome of the group before was added; the first stays as it is."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        width = channels // SCALE
        self.layers = nn.ModuleList(FrameLayer(width, width, 3, dilation) for _ in range(SCALE - 1))

    def forward(self, hidden_KCF: torch.Tensor, mask_K1F: torch.Tensor) -> torch.Tensor:
        """(K, C, F) -> (K, C, F)."""
        first, *others = hidden_KCF.chunk(SCALE, dim=1)
        done, last = [first], torch.zeros_like(first)
        for layer, group in zip(self.layers, others, strict=True):
            last = layer((group + last) * mask_K1F)
            done.append(last)
        return torch.cat(done, dim=1)


class SqueezeExcitation(nn.Module):
    """Channels rescaled by what the mean over the clip says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv1d(channels, BOTTLENECK, 1)
        self.excite = nn.Conv1d(BOTTLENECK, channels, 1)

    def forward(self, hidden_KCF: torch.Tensor, mask_K1F: torch.Tensor) -> torch.Tensor:
        """(K, C, F) -> (K, C, F)."""
        mean_KC1 = (hidden_KCF * mask_K1F).sum(2, keepdim=True) / mask_K1F.sum(2, keepdim=True)
        return hidden_KCF * self.excite(self.squeeze(mean_KC1).relu()).sigmoid()


class SERes2Block(nn.Module):
    """Frame layer, Res2Net, frame layer, squeeze-excitation, and the block's input added."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.before = FrameLayer(channels, channels)
        self.res2net = Res2Net(channels, dilation)
        self.after = FrameLayer(channels, channels)
        self.attention = SqueezeExcitation(channels)

    def forward(self, hidden_KCF: torch.Tensor, mask_K1F: torch.Tensor) -> torch.Tensor:
        """(K, C, F) -> (K, C, F)."""
        inner_KCF = self.after(self.res2net(self.before(hidden_KCF), mask_K1F))
        return self.attention(inner_KCF, mask_K1F) + hidden_KCF


class AttentivePooling(nn.Module):
    """Mean and deviation over the frames, weighed by an attention of each channel's own that sees the whole clip.

    Source: the paper's equations 1 to 3; ReLU and batch norm before the tanh as in its public implementations.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hidden = FrameLayer(3 * channels, BOTTLENECK)
        self.weigh = nn.Conv1d(BOTTLENECK, channels, 1)

    def forward(self, hidden_KCF: torch.Tensor, mask_K1F: torch.Tensor) -> torch.Tensor:
        """(K, C, F) -> (K, 2 C)."""
        hidden_KCF = hidden_KCF.float()
        clip = _statistics(hidden_KCF, mask_K1F / mask_K1F.sum(2, keepdim=True))
        context = [values_KC[:, :, None].expand_as(hidden_KCF) for values_KC in clip]
        weights_KCF = self.weigh(self.hidden(torch.cat([hidden_KCF, *context], dim=1)).tanh()).float()
        weights_KCF = weights_KCF.masked_fill(~mask_K1F, -math.inf).softmax(2)
        return torch.cat(_statistics(hidden_KCF, weights_KCF), dim=1)


def _statistics(hidden_KCF: torch.Tensor, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(K, C) weighted mean and standard deviation over frames; the weights of a clip sum to 1."""
    mean_KC = (weights * hidden_KCF).sum(2)
    variance_KC = (weights * (hidden_KCF - mean_KC[:, :, None]).square()).sum(2)
    return mean_KC, variance_KC.clamp(min=SMALLEST_VARIANCE).sqrt()


class ClipNorm(nn.BatchNorm1d):
    """Batch norm of one vector a clip; a clip that is alone in its batch is normalised as in evaluation."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(K, D) -> (K, D)."""
        if len(input) > 1 or not self.training:
            return super().forward(input)
        return functional.batch_norm(
            input, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


class EcapaTdnn(nn.Module):
    """80 features a frame -> one embedding a clip: 6.2M parameters with 512 channels, 14.7M with 1024."""

    def __init__(self, channels: int = 512, aggregated: int = 1536, embedding: int = 192) -> None:
        super().__init__()
        self.first = FrameLayer(BANDS, channels, 5)
        self.blocks = nn.ModuleList(SERes2Block(channels, dilation) for dilation in DILATIONS)
        self.aggregate = nn.Conv1d(channels * len(DILATIONS), aggregated, 1)
        self.pool = AttentivePooling(aggregated)
        self.pool_norm = ClipNorm(2 * aggregated)
        self.project = nn.Linear(2 * aggregated, embedding)
        self.norm = ClipNorm(embedding)

    def forward(self, features_KCF: torch.Tensor, mask_KF: torch.Tensor) -> torch.Tensor:
        """(K, 80, F), 0 in the padding, and (K, F) -> (K, D).

        The input of a block is the sum of the outputs of all layers before it (section 3.3 of the paper).
        """
        mask_K1F = mask_KF[:, None]
        total_KCF = self.first(features_KCF)
        outputs = []
        for block in self.blocks:
            outputs.append(block(total_KCF, mask_K1F))
            total_KCF = total_KCF + outputs[-1]
        pooled_KC = self.pool(self.aggregate(torch.cat(outputs, dim=1)).relu(), mask_K1F)
        return self.norm(self.project(self.pool_norm(pooled_KC)))


class EcapaClassifier(nn.Module):
    """ECAPA-TDNN with one row a training speaker."""

    def __init__(self, options: EcapaOptions, speakers: Sequence[str], seed: int) -> None:
        super().__init__()
        self.speakers = list(speakers)
        self.features = Features(options.features)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(keyed("ecapa", seed) % 2**63)
            self.encoder = EcapaTdnn(options.channels, options.aggregated, options.embedding)
        self.head = linear_head(speakers, options.embedding, seed, bias=False)

    def embed(self, batch: Batch) -> torch.Tensor:
        """(K, D) embeddings."""
        return self.encoder(*self.features(batch.values, batch.lengths))


def aam_logits(cosine_BS: torch.Tensor, speaker_B: torch.Tensor) -> torch.Tensor:
    """Logits of the AAM-softmax: the margin is added to the angle between an embedding and its own speaker's row.

    Where the angle with the margin would pass pi, and the cosine rise again, a line of the same direction stands in
    (the easy-margin guard of ArcFace's public implementation).

    Args:
        cosine_BS: (B, S) cosines of embeddings and rows.
        speaker_B: (B,) own rows.
    """
    own_B1 = cosine_BS.gather(1, speaker_B[:, None])
    sine_B1 = (1 - own_B1.square()).clamp(min=SMALLEST_VARIANCE).sqrt()
    moved_B1 = own_B1 * math.cos(MARGIN) - sine_B1 * math.sin(MARGIN)
    guard_B1 = own_B1 - MARGIN * math.sin(MARGIN)
    margin_B1 = torch.where(own_B1 > -math.cos(MARGIN), moved_B1, guard_B1)
    return SHARPNESS * cosine_BS.scatter(1, speaker_B[:, None], margin_B1)


class Ecapa(SpeakerSystem):
    """See the module's docstring."""

    Options: ClassVar = EcapaOptions
    train: ClassVar = Train(learning_rate=1e-3, weight_decay=2e-5, epochs=20, batch_size=32)
    options: EcapaOptions

    @property
    def recordable(self) -> bool:
        """Whether a step can be recorded: each makes the filters of a speed anew, on the host."""
        return not self.options.augmentation.speeds

    def weights_sha(self) -> str:
        """The starting point's, after a look whether it fits; "" if there is none."""
        if self.model.backbone == NO_BACKBONE:
            return ""
        self._start(EcapaClassifier(self.options, (), 0))
        return fingerprint(self.model.backbone)

    def network(self, setup: Setup) -> EcapaClassifier:
        """An embedding network and a row a speaker of the mixture, both drawn from the seed."""
        network = EcapaClassifier(self.options, speakers_of(setup.clips), setup.seed)
        if self.model.backbone != NO_BACKBONE:
            self._start(network)
        return network

    def examples(self, network: EcapaClassifier, clips: Sequence[Clip], seed: int, epoch: int) -> Sequence[Example]:
        """A crop of every clip."""
        return crop_examples(clips, seed, epoch)

    def labels(self, network: EcapaClassifier, examples: Sequence[Example]) -> Mapping[str, torch.Tensor]:
        """`speaker`: (B,) rows of the head; and what was drawn for the crops."""
        drawn = draw(examples, crop_size(self.options.crop_seconds), self.options.augmentation)
        return {"speaker": speaker_rows(network.speakers, examples), **drawn}

    def loss(self, network: EcapaClassifier, batch: Batch) -> torch.Tensor:
        """(B,) cross-entropy with an angular margin."""
        crops = cropped(batch, crop_size(self.options.crop_seconds), self.options.augmentation)
        embedding_BD = functional.normalize(network.embed(crops).float(), dim=1)
        with torch.autocast(embedding_BD.device.type, enabled=False):  # half precision is too coarse for angles
            cosine_BS = embedding_BD @ functional.normalize(network.head.weight, dim=1).T
            logits_BS = aam_logits(cosine_BS, batch.labels["speaker"])
            return functional.cross_entropy(logits_BS, batch.labels["speaker"], reduction="none")

    def _start(self, network: EcapaClassifier) -> None:
        """Puts the weights of the starting point into the embedding network.

        Raises:
            UserError: they are of a network of another kind or size.
        """
        path = expanded(self.model.backbone) / "model.safetensors"
        if not path.is_file():
            raise UserError(
                f"backbone in [model] is {self.model.backbone!r}; allowed: {NO_BACKBONE!r}, or a folder with a "
                "checkpoint of this task as model.safetensors"
            )
        found = load_file(path)
        own = network.encoder.state_dict()
        weights = {name: found.get(f"encoder.{name}") for name in own}
        for name, tensor in weights.items():
            shape = None if tensor is None else tuple(tensor.shape)
            if shape != tuple(own[name].shape):
                raise UserError(f"{path} has {shape or 'nothing'} as encoder.{name}; needed: {tuple(own[name].shape)}")
        network.encoder.load_state_dict(weights)
