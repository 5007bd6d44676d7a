"""Whisper's encoder as a backbone: log-mel features of a whole window, and of its output a clip's own frames alone.

Whisper hears a window of fixed length (30 s) and knows no attention mask: behind a clip it hears zeros, always the same
ones, so that its output for a clip does not depend on the clips beside it. The frames of the zeros are cut off. It is
one frame in 20 ms.
"""

from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModel, WhisperFeatureExtractor
from transformers.utils.logging import disable_progress_bar

from grids.errors import UserError
from grids.grid import Model
from tasks.backbones import Encoder, Frames
from tasks.data.clips import SAMPLE_RATE_HZ

HALVED = 2  # features a frame: the stride of the second convolution


class WhisperEncoder(Encoder):
    """The encoder of a folder of Whisper's type."""

    def __init__(self, model: nn.Module, extractor: WhisperFeatureExtractor) -> None:
        nn.Module.__init__(self)
        self.model, self.extractor = model, extractor

    @property
    def width(self) -> int:
        """H, the size of a hidden state."""
        return int(self.model.config.d_model)

    def forward(self, values_KT: torch.Tensor, lengths_K: torch.Tensor) -> Frames:
        """Encodes waves, as `Encoder.forward`.

        Raises:
            UserError: a clip is longer than the window.
        """
        window = self.extractor.n_samples
        if int(lengths_K.max()) > window:
            seconds = window / SAMPLE_RATE_HZ
            raise UserError(f"a clip is longer than the {seconds:g} s that Whisper hears; set max_seconds in [data]")
        waves = [wave[:n].float().cpu().numpy() for wave, n in zip(values_KT, lengths_K.tolist(), strict=True)]
        features_KMW = self.extractor(
            waves, sampling_rate=SAMPLE_RATE_HZ, return_tensors="pt", device=values_KT.device.type
        ).input_features.to(values_KT.device)
        result = self.model(features_KMW, output_hidden_states=True)
        frames_K = torch.div(lengths_K, HALVED * self.extractor.hop_length, rounding_mode="floor").clamp(min=1)
        most = int(frames_K.max())
        hidden = tuple(layer[:, :most] for layer in (*result.hidden_states[:-1], result.last_hidden_state))
        return Frames(hidden, torch.arange(most, device=values_KT.device) < frames_K[:, None])


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
