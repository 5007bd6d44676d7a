"""Pretrained encoders (HuBERT, mHuBERT, wav2vec 2.0, XLS-R, WavLM; Whisper's), made safe to batch.

`load(model)` returns an `Encoder`: equal weights at every call, and outputs that do not depend on the other clips of a
batch. Two things of the plain classes change numbers in silence and are settings here (`grids.grid.Model`): SpecAugment
and LayerDrop, both on by default in published configurations. A third is repaired: encoders with group norm in the
first convolution normalise over the padding too.

The built-in encoders "tiny" and "tiny-groupnorm" are folders of the same kind, made once, so that no code path knows
the difference. They are for trying things out: nothing about them is pretrained but a mel-spaced filter bank.

transformers is imported where a model is made or read: it takes seconds, and planning needs names and hashes alone.
"""

import copy
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from grids.errors import UserError
from grids.files import expanded, sha256_of
from grids.grid import Model
from tasks.data.cache import cache_folder, explained, new_folder

if TYPE_CHECKING:
    from transformers import HubertConfig, HubertModel, PreTrainedModel

TINY = {"tiny": "layer", "tiny-groupnorm": "group"}
TINY_LLM = "tiny-llm"  # made by `tasks.tiny_llm`
TINY_WHISPER = "tiny-whisper"  # made by `tasks.tiny_whisper`
BUILT_IN = (*TINY, TINY_LLM, TINY_WHISPER)
TINY_RECIPE = 1  # raise it when `_make_tiny` changes what it makes
UNUSED_WEIGHTS = {"masked_spec_embed"}  # only SpecAugment uses it, and not every published file has it
OF_LANGUAGES = "adapter.*"  # MMS: adapters of a thousand languages, of which `load_adapter` of transformers reads one
MODEL_FILES = ("config.json", "model.safetensors")  # one of them makes a folder a model's
ENCODERS = ("hubert", "wav2vec2", "wavlm", "whisper")


@dataclass(frozen=True)
class Frames:
    """What an encoder makes of K clips.

    Attributes:
        hidden: one (K, F, H) tensor a layer: the input of the first layer, then each layer's output, of which the last
            is the encoder's own (after its final norm, where it has one; so had transformers before 5).
        mask: (K, F) bool, True on a clip's own frames.
    """

    hidden: tuple[torch.Tensor, ...]
    mask: torch.Tensor

    @property
    def last(self) -> torch.Tensor:
        """(K, F, H), the encoder's output."""
        return self.hidden[-1]


class Encoder(nn.Module):
    """A transformers speech encoder whose output for a clip does not depend on the clips beside it."""

    model: Any  # each of its classes keeps its convolutions in the same place, but they share no type that says so

    def __init__(self, model: "PreTrainedModel") -> None:
        super().__init__()
        self.model = model
        if isinstance(norm := self._first_norm, nn.GroupNorm):
            self.model.feature_extractor.conv_layers[0].layer_norm = MaskedChannelNorm(norm)
        self.kernels = tuple(zip(model.config.conv_kernel, model.config.conv_stride, strict=True))
        self.shortest = _shortest(self.kernels)

    @property
    def width(self) -> int:
        """H, the size of a hidden state."""
        return int(self.model.config.hidden_size)

    def forward(self, values_KT: torch.Tensor, lengths_K: torch.Tensor) -> Frames:
        """Encodes waves.

        Args:
            values_KT: (K, T) float32, 16 kHz, padded with anything.
            lengths_K: (K,) int64, valid samples. A clip shorter than the receptive field is padded to it with zeros.
        """
        values_KT = values_KT * (torch.arange(values_KT.shape[1], device=values_KT.device) < lengths_K[:, None])
        values_KT = functional.pad(values_KT, (0, max(0, self.shortest - values_KT.shape[1])))
        lengths_K = lengths_K.clamp(min=self.shortest)
        valid_KT = torch.arange(values_KT.shape[1], device=values_KT.device) < lengths_K[:, None]
        waves_KT = normalised(values_KT, valid_KT)
        if isinstance(norm := self._first_norm, MaskedChannelNorm):
            norm.lengths = _frame_counts(lengths_K, self.kernels[:1])
        result = self.model(waves_KT, attention_mask=valid_KT.long(), output_hidden_states=True)
        frames_K = _frame_counts(lengths_K, self.kernels)
        mask_KF = torch.arange(result.last_hidden_state.shape[1], device=values_KT.device) < frames_K[:, None]
        return Frames((*result.hidden_states[:-1], result.last_hidden_state), mask_KF)

    def frames(self, lengths_K: torch.Tensor) -> torch.Tensor:
        """(K,) samples -> (K,) frames."""
        return _frame_counts(lengths_K.clamp(min=self.shortest), self.kernels)

    @property
    def _first_norm(self) -> nn.Module | None:
        return getattr(self.model.feature_extractor.conv_layers[0], "layer_norm", None)


class MaskedChannelNorm(nn.Module):
    """Group norm with one group a channel over a clip's own frames alone.

    HuBERT-base and mHuBERT-147 normalise each channel of the first convolution over time; over padded clips that
    changes every output, by more than the outputs' own size.
    """

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        if norm.num_groups != norm.num_channels:
            raise ValueError(f"group norm with {norm.num_groups} groups of {norm.num_channels} channels")
        self.weight, self.bias, self.eps = norm.weight, norm.bias, norm.eps
        self.lengths: torch.Tensor | None = None

    def forward(self, hidden_KCF: torch.Tensor) -> torch.Tensor:
        """(K, C, F) -> (K, C, F), normalised over the first `lengths` frames of each clip (F if not set)."""
        values_KCF = hidden_KCF.float()
        if self.lengths is None:
            return functional.group_norm(values_KCF, len(self.weight), self.weight, self.bias, self.eps)
        valid_K1F = (torch.arange(values_KCF.shape[2], device=values_KCF.device) < self.lengths[:, None])[:, None]
        count_K11 = self.lengths[:, None, None]
        mean_KC1 = (values_KCF * valid_K1F).sum(2, keepdim=True) / count_K11
        centred_KCF = (values_KCF - mean_KC1) * valid_K1F
        variance_KC1 = centred_KCF.square().sum(2, keepdim=True) / count_K11
        scaled_KCF = centred_KCF * torch.rsqrt(variance_KC1 + self.eps)
        return (scaled_KCF * self.weight[:, None] + self.bias[:, None]).to(hidden_KCF.dtype)


def normalised(values_KT: torch.Tensor, valid_KT: torch.Tensor) -> torch.Tensor:
    """Zero mean and unit variance for each clip over its own samples, (K, T) -> (K, T); 0 elsewhere.

    Source: `Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm` of transformers (epsilon 1e-7 inside the root).
    """
    count_K1 = valid_KT.sum(1, keepdim=True)
    mean_K1 = (values_KT * valid_KT).sum(1, keepdim=True) / count_K1
    centred_KT = (values_KT - mean_K1) * valid_KT
    variance_K1 = centred_KT.square().sum(1, keepdim=True) / count_K1
    return centred_KT / torch.sqrt(variance_K1 + 1e-7)


def masked_mean(hidden_KFH: torch.Tensor, mask_KF: torch.Tensor) -> torch.Tensor:
    """(K, F, H), (K, F) -> (K, H): mean over a clip's own frames."""
    weights_KF1 = mask_KF[:, :, None].to(hidden_KFH.dtype)
    return (hidden_KFH * weights_KF1).sum(1) / weights_KF1.sum(1)


def load(model: Model) -> Encoder:
    """A fresh copy of the backbone, on the CPU, in float32. The weights are read once a process.

    Raises:
        UserError: no such backbone, or one that is no raw-waveform encoder.
    """
    return copy.deepcopy(_pristine(resolve(model.backbone), model))


def resolve(name: str) -> Path:
    """The local folder of a backbone: a built-in one (made if needed), a folder, or a hub name (fetched if needed).

    Raises:
        UserError: neither a folder nor to be had from the hub.
    """
    if name in TINY:
        return _make_tiny(TINY[name])
    if name == TINY_LLM:
        from tasks import tiny_llm

        return tiny_llm.folder()
    if name == TINY_WHISPER:
        from tasks import tiny_whisper

        return tiny_whisper.folder()
    folder = expanded(name)
    if any((folder / file).is_file() for file in MODEL_FILES):
        return folder.resolve()
    if folder.is_dir() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        built_in = ", ".join(BUILT_IN)
        what = "holds no config.json" if folder.is_dir() else "is no folder and no hub name"
        raise UserError(f"backbone {name!r} {what}; allowed: a folder saved by save_pretrained, a hub name, {built_in}")
    return _fetch(name)


def fingerprint(name: str, further: tuple[str, ...] = ()) -> str:
    """A hash of a backbone's configuration and weights, so of what it is and not of where it lies.

    Args:
        name: the backbone.
        further: suffixes of other files that count.
    """
    folder = resolve(name)
    digest = hashlib.sha256()
    files = {path for path in folder.iterdir() if path.suffix in (".safetensors", ".bin", *further)}
    for path in sorted({*files, *folder.glob("config.json")} - {*folder.glob(OF_LANGUAGES)}):
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()


def _fetch(name: str) -> Path:
    """The snapshot of a hub model in the local cache."""
    from huggingface_hub import snapshot_download

    weights = ["*.json", "*.jinja", "*.safetensors", "pytorch_model*.bin"]
    try:
        return Path(snapshot_download(name, allow_patterns=weights, ignore_patterns=[OF_LANGUAGES]))
    except Exception as error:  # the hub client raises a dozen unrelated types
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"backbone {name!r} is no folder and could not be had from the hub: {reason}") from None


@lru_cache(maxsize=4)
def _pristine(folder: Path, model: Model) -> Encoder:
    """The encoder as read from the folder, kept for the life of the process."""
    if not (folder / "config.json").is_file():
        raise UserError(f"backbone {str(folder)!r} holds weights without a config.json, so no raw-waveform encoder")
    from transformers import AutoConfig, AutoModel
    from transformers.utils.logging import disable_progress_bar

    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    if config.model_type not in ENCODERS:
        allowed = ", ".join(ENCODERS)
        raise UserError(f"backbone {str(folder)!r} is of type {config.model_type!r}; allowed: {allowed}")
    if config.model_type == "whisper":
        from tasks import whisper_frames

        return whisper_frames.read(folder, model)
    disable_progress_bar()
    config.apply_spec_augment = model.spec_augment
    config.layerdrop = model.layerdrop
    with torch.random.fork_rng(devices=[]):  # the first load of a process must leave the generator as later ones do
        torch.manual_seed(0)
        network, found = AutoModel.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, weights_only=True,
            output_loading_info=True,
        )  # fmt: skip
    missing = sorted(set(found["missing_keys"]) - UNUSED_WEIGHTS)
    if missing:
        raise UserError(f"backbone {str(folder)!r} lacks {len(missing)} weights of its network, e.g. {missing[0]}")
    if model.freeze_feature_encoder:
        network.feature_extractor._freeze_parameters()
    return Encoder(network)


def _frame_counts(lengths_K: torch.Tensor, kernels: tuple[tuple[int, int], ...]) -> torch.Tensor:
    """Frames that convolutions without padding leave of so many samples."""
    for kernel, stride in kernels:
        lengths_K = torch.div(lengths_K - kernel, stride, rounding_mode="floor") + 1
    return lengths_K


def _shortest(kernels: tuple[tuple[int, int], ...]) -> int:
    """Samples that give exactly one frame: the receptive field."""
    needed = 1
    for kernel, stride in reversed(kernels):
        needed = (needed - 1) * stride + kernel
    return needed


def _make_tiny(norm: str) -> Path:
    """The folder of a built-in encoder (2 layers of 64), made once and renamed into place."""
    folder = cache_folder() / "models" / f"tiny-{norm}-{TINY_RECIPE}"
    if (folder / "config.json").is_file():
        return folder
    from transformers import HubertModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = HubertModel(_tiny_config(norm))
        _gabor_filters(model)
    with explained(f"encoder tiny-{norm}", folder.parent), new_folder(folder) as temporary:
        model.save_pretrained(temporary)
    return folder


def _tiny_config(norm: str) -> "HubertConfig":
    """HuBERT's configuration at the tiny size; frames of 20 ms."""
    from transformers import HubertConfig

    return HubertConfig(
        vocab_size=32, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128,
        conv_dim=(64, 64), conv_kernel=(400, 8), conv_stride=(80, 4), conv_bias=True, feat_extract_norm=norm,
        do_stable_layer_norm=norm == "layer", num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=4,
        hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0, feat_proj_dropout=0.0, final_dropout=0.0,
        layerdrop=0.0, apply_spec_augment=False,
    )  # fmt: skip


@torch.no_grad()
def _gabor_filters(model: "HubertModel") -> None:
    """Sets the two convolutions to mel-spaced Gabor filters (25 ms, pre-emphasised) and their mean over 40 ms.

    The second convolution gives each band twice, as x and -x, because the activation between loses the negative half.
    A random front end learns far less from a few dozen clips.
    """
    bands, kernel = 32, 400
    lowest, highest = 1127 * np.log1p(np.array([80.0, 7200.0]) / 700)
    mel = np.linspace(lowest, highest, bands)
    frequency = 700 * np.expm1(mel / 1127)
    phase = 2 * np.pi * frequency[:, None] * np.arange(kernel) / 16_000
    filters = np.concatenate([np.cos(phase), np.sin(phase)]) * np.hanning(kernel)
    emphasis = np.sqrt(np.maximum(frequency / 500, 1))
    filters *= np.tile(emphasis, 2)[:, None] / np.linalg.norm(filters, axis=1, keepdims=True)
    first, second = (layer.get_submodule("conv") for layer in model.feature_extractor.conv_layers)
    first.get_parameter("weight").copy_(torch.tensor(filters, dtype=torch.float32)[:, None])
    first.get_parameter("bias").zero_()
    mean = torch.zeros_like(second.get_parameter("weight"))
    for band in range(bands):
        for output, sign in ((band, 1.0), (band + bands, -1.0)):
            mean[output, [band, band + bands]] = sign / 16
    second.get_parameter("weight").copy_(mean)
    second.get_parameter("bias").zero_()
