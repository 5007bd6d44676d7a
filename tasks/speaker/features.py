"""Front ends of speaker networks: 80 log-mel bands, or the 80 cepstral coefficients (MFCC) made of them."""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional
from torchaudio.transforms import MFCC, MelSpectrogram

from tasks.data.clips import SAMPLE_RATE_HZ

Kind = Literal["mfcc", "logmel"]
BANDS = 80
WINDOW, HOP = 512, 160  # samples of a transform and from one to the next; the window has 25 ms of them
FLOOR = 1e-6  # added to a band's power before the logarithm, as torchaudio's MFCC does


class Features(nn.Module):
    """Waves to mean-normalised features. A clip's features do not depend on the padding of its batch.

    Frames lie within the clip, none is centred on its edge, and the logarithm has no floor relative to the loudest
    frame of a batch (torchaudio's decibels have both).
    """

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        mel = {
            "n_fft": WINDOW, "win_length": 400, "hop_length": HOP, "n_mels": BANDS, "f_min": 20.0, "f_max": 7600.0,
            "center": False, "window_fn": torch.hamming_window,
        }  # fmt: skip
        self.kind = kind
        self.transform = (
            MFCC(SAMPLE_RATE_HZ, n_mfcc=BANDS, log_mels=True, melkwargs=mel)
            if kind == "mfcc"
            else MelSpectrogram(SAMPLE_RATE_HZ, **mel)
        )

    def forward(self, values_KT: torch.Tensor, lengths_K: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes the features.

        Args:
            values_KT: (K, T) float32, 16 kHz, padded with anything.
            lengths_K: (K,) int64, valid samples. A clip shorter than a window is padded to one with zeros.

        Returns:
            (K, 80, F) float32 with mean 0 over each clip's own frames and 0 elsewhere, and the mask (K, F).
        """
        valid_KT = torch.arange(values_KT.shape[1], device=values_KT.device) < lengths_K[:, None]
        values_KT = functional.pad(values_KT * valid_KT, (0, max(0, WINDOW - values_KT.shape[1])))
        with torch.autocast(values_KT.device.type, enabled=False):
            features_KCF = self.transform(values_KT.float())
            if self.kind == "logmel":
                features_KCF = (features_KCF + FLOOR).log()
        frames_K = (lengths_K.clamp(min=WINDOW) - WINDOW) // HOP + 1
        mask_KF = torch.arange(features_KCF.shape[2], device=values_KT.device) < frames_K[:, None]
        own_K1F = mask_KF[:, None]
        mean_KC1 = (features_KCF * own_K1F).sum(2, keepdim=True) / frames_K[:, None, None]
        return (features_KCF - mean_KC1) * own_K1F, mask_KF
