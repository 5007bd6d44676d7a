"""Whisper's encoder as a backbone: log-mel features of a whole window, and of its output a clip's own frames alone.

Whisper hears a window of fixed length (30 s) and knows no attention mask: behind a clip it hears zeros, always the same
ones, so that its output for a clip does not depend on the clips beside it. The frames of the zeros are cut off. It is
one frame in 20 ms.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, WhisperFeatureExtractor
from transformers.utils.logging import disable_progress_bar

from grids.errors import UserError
from grids.grid import Model
from tasks.base import Kernels
from tasks.data.clips import SAMPLE_RATE_HZ
from tasks.encoder import Encoder, Frames

HALVED = 2  # features a frame: the stride of the second convolution


class WhisperEncoder(Encoder):
    """The encoder of a folder of Whisper's type."""

    window: torch.Tensor
    filters: torch.Tensor

    def __init__(self, model: nn.Module, extractor: WhisperFeatureExtractor) -> None:
        nn.Module.__init__(self)
        self.model, self.extractor, self.kernels = model, extractor, Kernels()
        self.register_buffer("window", torch.hann_window(extractor.n_fft), persistent=False)
        filters_WM = torch.from_numpy(extractor.mel_filters).float()
        self.register_buffer("filters", filters_WM, persistent=False)

    @property
    def width(self) -> int:
        """H, the size of a hidden state."""
        return int(self.model.config.d_model)

    def forward(
        self, values_KT: torch.Tensor, lengths_K: torch.Tensor, *, states: int | None = 1, padded: bool = True
    ) -> Frames:
        """Encodes waves.

        Args:
            values_KT: (K, T) float32, 16 kHz, padded with anything to no more than the window.
            lengths_K: (K,) int64, valid samples.
            states: as `Encoder` has it.
            padded: without effect; a window always is.

        Raises:
            UserError: a clip is longer than the window.
        """
        total, window = values_KT.shape[1], self.extractor.n_samples
        if total > window:
            seconds = window / SAMPLE_RATE_HZ
            raise UserError(f"a clip is longer than the {seconds:g} s that Whisper hears; set max_seconds in [data]")
        waves_KT = values_KT * (torch.arange(total, device=values_KT.device) < lengths_K[:, None])
        features_KMW = self._features(functional.pad(waves_KT, (0, window - total)))
        result = self.model(features_KMW, output_hidden_states=states != 1)
        hop = HALVED * self.extractor.hop_length
        frames_K = torch.div(lengths_K, hop, rounding_mode="floor").clamp(min=1)
        most = max(total // hop, 1)
        every = (*(result.hidden_states or ())[:-1], result.last_hidden_state)
        kept = every if states is None else every[-states:]
        mask_KF = torch.arange(most, device=values_KT.device) < frames_K[:, None]
        return Frames(tuple(layer[:, :most] for layer in kept), mask_KF)

    def draw(self, counts: Sequence[int], total: int) -> dict[str, torch.Tensor]:
        """No (K, F) mask: Whisper masks its features elsewhere than in its encoder."""
        return {}

    def _features(self, waves_KT: torch.Tensor) -> torch.Tensor:
        """(K, M, W) log-mel features of whole windows, where the waves lie.

        Source: `WhisperFeatureExtractor._torch_extract_fbank_features` of transformers, which takes and gives NumPy
        arrays, so that a GPU's waves would go to the host and back.
        """
        extractor = self.extractor
        with torch.autocast(waves_KT.device.type, enabled=False):
            bins_KCW = torch.stft(
                waves_KT.float(), extractor.n_fft, extractor.hop_length, window=self.window, return_complex=True
            )
            power_KCW = (bins_KCW[..., :-1].abs() ** 2).contiguous()
            log_KMW = torch.clamp(self.filters.T @ power_KCW, min=1e-10).log10()
            loudest_K11 = log_KMW.amax(dim=(1, 2), keepdim=True)
            features_KMW: torch.Tensor = (torch.maximum(log_KMW, loudest_K11 - 8.0) + 4.0) / 4.0
        return features_KMW


def read(folder: Path, model: Model) -> WhisperEncoder:
    """The encoder as read from the folder, with the decoder left out.

    Raises:
        UserError: weights of its network are missing.
    """
    disable_progress_bar()
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    config.apply_spec_augment, config.encoder_layerdrop = model.spec_augment, model.layerdrop
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network, found = AutoModel.from_pretrained(
            folder, config=config, dtype=torch.float32, local_files_only=True, weights_only=True,
            output_loading_info=True,
        )  # fmt: skip
    if missing := sorted(found["missing_keys"]):
        raise UserError(f"backbone {str(folder)!r} lacks {len(missing)} weights of its network, e.g. {missing[0]}")
    encoder = network.get_encoder()
    for convolution in (encoder.conv1, encoder.conv2):
        convolution.requires_grad_(not model.freeze_feature_encoder)
    return WhisperEncoder(encoder, WhisperFeatureExtractor.from_pretrained(folder, local_files_only=True))
