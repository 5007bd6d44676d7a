"""A raw-waveform encoder (HuBERT, mHuBERT, wav2vec 2.0, XLS-R, WavLM) whose output for a clip is that clip's alone.

The layers are those of transformers, called one after the other: masks come from the clips' lengths, and nothing asks
the device for a value, which would make the host wait and forbid CUDA graphs. Two things of the plain classes change
numbers in silence and are settings (`grids.grid.Model`): SpecAugment and LayerDrop, both on by default in published
configurations. A third is repaired: encoders with group norm in the first convolution normalise over the padding too.

`Encoder.kernels` says how the arithmetic is done on the device at hand; on a CPU nothing differs from transformers'.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from tasks.base import Kernels
from tasks.kernels import (
    MaskedChannelNorm,
    attention_bias,
    autocast_type,
    grouped_product,
    normed_convolution,
    strided_product,
    weights_cast,
    within,
)  # fmt: skip

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Not cuDNN's: it plans anew for each length (some 0.1 s on an H100). Flash takes no mask; the last is for odd widths.
ATTENTION = [SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


@dataclass(frozen=True)
class Frames:
    """What an encoder makes of K clips.

    Attributes:
        hidden: the last (K, F, H) tensors, as many as were asked for, of: the input of the first layer, then each
            layer's output, of which the last is the encoder's own (after its final norm, where it has one; so had
            transformers before 5).
        mask: (K, F) bool, True on a clip's own frames.
    """

    hidden: tuple[torch.Tensor, ...]
    mask: torch.Tensor

    @property
    def last(self) -> torch.Tensor:
        """(K, F, H), the encoder's output."""
        return self.hidden[-1]


class Encoder(nn.Module):
    """A transformers speech encoder whose output for a clip does not depend on the clips beside it.

    Attributes:
        kernels: how the arithmetic is done.
        drawn: the SpecAugment masks of the next training step (see `draw`); None: they are drawn when it comes.
    """

    model: Any  # each of its classes keeps its convolutions in the same place, but they share no type that says so

    def __init__(self, model: "PreTrainedModel") -> None:
        super().__init__()
        self.model, self.kernels, self.drawn = model, Kernels(), cast(dict[str, torch.Tensor] | None, None)
        if isinstance(norm := getattr(self._convolutions[0], "layer_norm", None), nn.GroupNorm):
            self._convolutions[0].layer_norm = MaskedChannelNorm(norm)
        self.strides = tuple(zip(model.config.conv_kernel, model.config.conv_stride, strict=True))
        self.shortest = _shortest(self.strides)

    @property
    def width(self) -> int:
        """H, the size of a hidden state."""
        return int(self.model.config.hidden_size)

    def forward(
        self, values_KT: torch.Tensor, lengths_K: torch.Tensor, *, states: int | None = 1, padded: bool = True
    ) -> Frames:
        """Encodes waves.

        Args:
            values_KT: (K, T) float32, 16 kHz, padded with anything.
            lengths_K: (K,) int64, valid samples. A clip shorter than the receptive field is padded to it with zeros.
            states: how many of the last hidden states are wanted; None: all.
            padded: False where the caller knows that no clip is shorter than T, which saves the attention's mask.
        """
        exact = self._convolutions[0].conv if self.kernels.norm and self._masked_norm else None
        with weights_cast(self, values_KT.device, exact) if self.kernels.casts else nullcontext():
            return self._encoded(values_KT, lengths_K, states, padded)

    def frames(self, lengths_K: torch.Tensor) -> torch.Tensor:
        """(K,) samples -> (K,) frames."""
        return frame_counts(lengths_K.clamp(min=self.shortest), self.strides)

    def _encoded(
        self, values_KT: torch.Tensor, lengths_K: torch.Tensor, states: int | None, padded: bool
    ) -> Frames:  # fmt: skip
        """See `forward`: (K, T), (K,)."""
        values_KT = values_KT * within(lengths_K, values_KT.shape[1])
        values_KT = functional.pad(values_KT, (0, max(0, self.shortest - values_KT.shape[1])))
        lengths_K = lengths_K.clamp(min=self.shortest)
        waves_KT = normalised(values_KT, within(lengths_K, values_KT.shape[1]))
        features_KFC = self._convolved(waves_KT, lengths_K)
        mask_KF = within(frame_counts(lengths_K, self.strides), features_KFC.shape[1])
        if mask_KF.device.type == "cpu" and not self.kernels.attention:  # to look costs nothing there
            padded = not bool(mask_KF.all())
        projected = self.model.feature_projection(features_KFC)
        hidden_KFH = projected[0] if isinstance(projected, tuple) else projected
        hidden_KFH = self._spec_augmented(hidden_KFH, lengths_K)
        return Frames(self._transformed(hidden_KFH, mask_KF if padded else None, states), mask_KF)

    def draw(self, counts: Sequence[int], total: int) -> dict[str, torch.Tensor]:
        """The SpecAugment masks of a training step, from NumPy's global generator, on the CPU.

        A clip's spans lie within its own frames, however far it is padded.

        Args:
            counts: K lengths of clips, samples.
            total: T, to which they are padded, samples.

        Returns:
            Where asked for, `time_mask` (K, F) and `feature_mask` (K, H), bool; True is masked.
        """
        config, masks = self.model.config, dict[str, torch.Tensor]()
        if not (self.training and config.apply_spec_augment):
            return masks
        from transformers.models.wav2vec2.modeling_wav2vec2 import _compute_mask_indices

        frames_K, own = self.frames(torch.tensor(counts)), self.frames(torch.tensor([total]))
        if config.mask_time_prob > 0:
            masks["time_mask"] = torch.from_numpy(
                _compute_mask_indices(
                    (len(counts), int(own)), config.mask_time_prob, config.mask_time_length,
                    attention_mask=cast(Any, within(frames_K, int(own)).long()), min_masks=config.mask_time_min_masks,
                )
            )  # fmt: skip
        if config.mask_feature_prob > 0:
            masks["feature_mask"] = torch.from_numpy(
                _compute_mask_indices(
                    (len(counts), self.width), config.mask_feature_prob, config.mask_feature_length,
                    min_masks=config.mask_feature_min_masks,
                )
            )  # fmt: skip
        return masks

    @property
    def _convolutions(self) -> Any:
        return self.model.feature_extractor.conv_layers

    @property
    def _masked_norm(self) -> MaskedChannelNorm | None:
        """The group norm behind the first convolution, where there is one."""
        norm = getattr(self._convolutions[0], "layer_norm", None)
        return norm if isinstance(norm, MaskedChannelNorm) else None

    def _convolved(self, waves_KT: torch.Tensor, lengths_K: torch.Tensor) -> torch.Tensor:
        """(K, T) -> (K, F, C). The plain class asks for the gradient of the waves too, which nobody reads."""
        if self.kernels.convolutions and not torch.is_grad_enabled():
            return self._convolved_with_channels_last(waves_KT, lengths_K)
        first, *others = self._convolutions
        hidden_KCF = waves_KT[:, None]
        if (norm := self._masked_norm) is None:
            hidden_KCF = first(hidden_KCF)
        elif self.kernels.norm:
            windows_KFR, weights_KCR = self._normed(norm, waves_KT, lengths_K)
            hidden_KCF = first.activation(torch.bmm(weights_KCR, windows_KFR.transpose(1, 2)))
        else:
            hidden_KCF = first.activation(norm(first.conv(hidden_KCF), frame_counts(lengths_K, self.strides[:1])))
        for layer in others:
            hidden_KCF = layer(hidden_KCF)
        return hidden_KCF.transpose(1, 2)

    def _convolved_with_channels_last(self, waves_KT: torch.Tensor, lengths_K: torch.Tensor) -> torch.Tensor:
        """The same, (K, T) -> (K, F, C), by products alone."""
        hidden_KFC = waves_KT[:, :, None]
        for number, layer in enumerate(self._convolutions):
            conv, norm = layer.conv, getattr(layer, "layer_norm", None)
            if isinstance(norm, MaskedChannelNorm):
                windows_KFR, weights_KCR = self._normed(norm, waves_KT, lengths_K)
                hidden_KFC = torch.bmm(windows_KFR, weights_KCR.transpose(1, 2))
            else:
                hidden_KFC = strided_product(hidden_KFC, conv.weight, conv.bias, self.strides[number][1])
                hidden_KFC = norm(hidden_KFC) if norm is not None else hidden_KFC
            hidden_KFC = layer.activation(hidden_KFC)
        return hidden_KFC

    def _normed(
        self, norm: MaskedChannelNorm, waves_KT: torch.Tensor, lengths_K: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See `normed_convolution`: of (K, T) waves the operands (K, F, R) and (K, C, R)."""
        weight_C1W, stride = self._convolutions[0].conv.weight, self.strides[0][1]
        return normed_convolution(waves_KT, weight_C1W.float(), norm, stride, frame_counts(lengths_K, self.strides[:1]))

    def _spec_augmented(self, hidden_KFH: torch.Tensor, lengths_K: torch.Tensor) -> torch.Tensor:
        """SpecAugment's masks put in, in training, where the backbone's configuration asks for it."""
        if not (self.training and self.model.config.apply_spec_augment):
            return hidden_KFH
        masks = self.draw(lengths_K.tolist(), int(lengths_K.max())) if self.drawn is None else self.drawn
        masks = {name: mask.to(hidden_KFH.device) for name, mask in masks.items()}
        if "time_mask" in masks:
            filling_H = self.model.masked_spec_embed.to(hidden_KFH.dtype)
            hidden_KFH = torch.where(masks["time_mask"][:, :, None], filling_H, hidden_KFH)
        if "feature_mask" in masks:
            hidden_KFH = hidden_KFH.masked_fill(masks["feature_mask"][:, None], 0.0)
        return hidden_KFH

    def _transformed(
        self, hidden_KFH: torch.Tensor, mask_KF: torch.Tensor | None, states: int | None
    ) -> tuple[torch.Tensor, ...]:
        """The last hidden states of the transformer; its input is 0 in the padding."""
        encoder, stable = self.model.encoder, self.model.config.do_stable_layer_norm
        if mask_KF is not None:
            hidden_KFH = hidden_KFH.masked_fill(~mask_KF[:, :, None], 0.0)
        hidden_KFH = hidden_KFH + self._positions(hidden_KFH)
        hidden_KFH = encoder.dropout(hidden_KFH if stable else encoder.layer_norm(hidden_KFH))
        kept = deque([hidden_KFH], maxlen=states)
        with self._attention(hidden_KFH.device):
            kept.extend(self._layered(hidden_KFH, mask_KF))
        if stable:
            kept[-1] = encoder.layer_norm(kept[-1])
        return tuple(kept)

    def _layered(self, hidden_KFH: torch.Tensor, mask_KF: torch.Tensor | None) -> Iterator[torch.Tensor]:
        """The output of each layer; LayerDrop leaves the input of a layer as it is."""
        is_wavlm, bias = self.model.config.model_type == "wavlm", None
        mask = mask_KF
        if mask is not None and not is_wavlm and self.kernels.attention:
            mask = attention_bias(mask, autocast_type(mask.device) or hidden_KFH.dtype)
        elif mask is not None and not is_wavlm:
            mask = mask[:, None, None].expand(-1, 1, mask.shape[1], -1)
        for number, layer in enumerate(self.model.encoder.layers):
            if not self._skips(number, is_wavlm):
                if is_wavlm:  # its first layer makes the position bias of all
                    hidden_KFH, bias = layer(hidden_KFH, attention_mask=mask, position_bias=bias)
                else:
                    hidden_KFH = layer(hidden_KFH, attention_mask=mask)
            yield hidden_KFH

    def _skips(self, number: int, is_wavlm: bool) -> bool:
        """Whether LayerDrop leaves a layer out; drawn on the CPU."""
        probability = self.model.config.layerdrop
        if not (self.training and probability > 0) or (is_wavlm and number == 0):
            return False
        return bool(torch.rand([]) < probability)

    def _positions(self, hidden_KFH: torch.Tensor) -> torch.Tensor:
        """What the positional convolution adds, (K, F, H)."""
        embed = self.model.encoder.pos_conv_embed
        if not self.kernels.product or getattr(embed, "batch_norm", None) is not None:
            added: torch.Tensor = embed(hidden_KFH)
            return added
        conv = embed.conv
        positions_KFH = grouped_product(hidden_KFH, conv.weight, conv.bias, conv.groups, conv.padding[0])
        added = embed.activation(embed.padding(positions_KFH.transpose(1, 2)))
        return added.transpose(1, 2)

    def _attention(self, device: torch.device) -> AbstractContextManager[Any]:
        """The attention kernel: one on a GPU, so that no heuristic changes it with the shape."""
        return sdpa_kernel(ATTENTION) if self.kernels.attention and device.type == "cuda" else nullcontext()


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


def frame_counts(lengths_K: torch.Tensor, strides: Sequence[tuple[int, int]]) -> torch.Tensor:
    """(K,) samples -> (K,) frames that convolutions without padding, (kernel, stride) each, leave of them."""
    for kernel, stride in strides:
        lengths_K = torch.div(lengths_K - kernel, stride, rounding_mode="floor") + 1
    return lengths_K


def use_kernels(network: Any, kernels: Kernels) -> None:
    """Lets every encoder of a network compute so."""
    for part in network.modules() if isinstance(network, nn.Module) else ():
        if isinstance(part, Encoder):
            part.kernels = kernels


def hand_over(network: nn.Module, drawn: Mapping[str, torch.Tensor]) -> None:
    """Gives the encoders of a network the masks, (K, F) and (K, H), that `draw` drew for the step that comes."""
    for part in network.modules():
        if isinstance(part, Encoder):
            part.drawn = {name: mask for name, mask in drawn.items() if name in ("time_mask", "feature_mask")}


def _shortest(strides: Sequence[tuple[int, int]]) -> int:
    """Samples that give exactly one frame: the receptive field."""
    needed = 1
    for kernel, stride in reversed(strides):
        needed = (needed - 1) * stride + kernel
    return needed
