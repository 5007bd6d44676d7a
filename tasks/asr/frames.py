"""Front end and batch norm of recognisers that start from nothing: a clip's frames, and nothing of its padding.

Frames lie within the clip, none is centred on its edge, so that a stream makes the same ones as the whole clip.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional
from torchaudio.transforms import MelSpectrogram, Spectrogram

from tasks.data.clips import SAMPLE_RATE_HZ
from tasks.examples import keyed

WINDOW, HOP = 320, 160  # samples: 20 ms every 10 ms, as Deep Speech 2 and Jasper have them
BINS = WINDOW // 2 + 1
FLOOR = 1e-6  # added to a power before the logarithm: far below the noise of a recording
LEAST_DEVIATION = 1e-3
FIXED_MEAN, FIXED_DEVIATION = -2.5, 2.7  # of log-mel bands of the synthetic corpus, whose speech is as loud as any
FRAME_SECONDS = HOP / SAMPLE_RATE_HZ


class LogSpectrum(nn.Module):
    """Waves to the logarithm of their power, in mel bands or in every bin of the transform.

    Args:
        bands: mel bands; 0: all bins up to 8 kHz, 50 Hz apart.
        normalised: each feature has mean 0 and deviation 1 over a clip. A stream can't know them: it has fixed ones.
    """

    def __init__(self, bands: int = 0, *, normalised: bool = True) -> None:
        super().__init__()
        self.normalised = normalised
        kind = {"n_fft": 512, "n_mels": bands, "sample_rate": SAMPLE_RATE_HZ} if bands else {"n_fft": WINDOW}
        self.transform = (MelSpectrogram if bands else Spectrogram)(
            win_length=WINDOW, hop_length=HOP, center=False, **kind
        )
        self.reach = int(kind["n_fft"])

    def forward(self, values_KT: torch.Tensor, lengths_K: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes the features.

        Args:
            values_KT: (K, T) float32, 16 kHz, padded with anything.
            lengths_K: (K,) int64, valid samples. A clip shorter than a window is padded to one with zeros.

        Returns:
            (K, C, F) float32, 0 outside a clip's own frames, and the mask (K, F).
        """
        valid_KT = torch.arange(values_KT.shape[1], device=values_KT.device) < lengths_K[:, None]
        values_KT = functional.pad(values_KT * valid_KT, (0, max(0, self.reach - values_KT.shape[1])))
        with torch.autocast(values_KT.device.type, enabled=False):
            features_KCF = (self.transform(values_KT.float()) + FLOOR).log()
        frames_K = self.frames(lengths_K)
        mask_KF = torch.arange(features_KCF.shape[2], device=values_KT.device) < frames_K[:, None]
        own_K1F, count_K11 = mask_KF[:, None], frames_K[:, None, None]
        if self.normalised:
            features_KCF = features_KCF - (features_KCF * own_K1F).sum(2, keepdim=True) / count_K11
            variance_KC1 = (features_KCF * own_K1F).square().sum(2, keepdim=True) / count_K11
            features_KCF = features_KCF / (variance_KC1.sqrt() + LEAST_DEVIATION)
        else:
            features_KCF = (features_KCF - FIXED_MEAN) / FIXED_DEVIATION
        return features_KCF * own_K1F, mask_KF

    def frames(self, lengths_K: torch.Tensor) -> torch.Tensor:
        """(K,) samples -> (K,) frames."""
        return (lengths_K.clamp(min=self.reach) - self.reach) // HOP + 1


class MaskedNorm(nn.Module):
    """Batch norm over the clips' own frames; 0 elsewhere. Padding takes no part in its statistics.

    Over time and, where there is one, over frequency: "sequence-wise" in Deep Speech 2, section 3.2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels, eps=1e-3)

    def forward(self, hidden: torch.Tensor, mask_KF: torch.Tensor) -> torch.Tensor:
        """(K, C, F) or (K, C, D, F) -> the same shape."""
        by_frame = hidden.movedim(-1, 1)
        out = torch.zeros_like(by_frame)
        out[mask_KF] = self.norm(by_frame[mask_KF]).to(out.dtype)
        return out.movedim(1, -1)


class Network(nn.Module):
    """What `SpectralEncoder` needs of a network: (K, C, F) features and (K, F) mask -> (K, F', H) and (K, F').

    Attributes:
        bands: of its `LogSpectrum`.
        width: H, the size of a frame.
        stride: frames of the input a frame.
    """

    bands: int
    width: int
    stride: int


class SpectralEncoder(nn.Module):
    """A network of spectra, with its front end: waves to frames.

    Attributes:
        width: H, the size of a frame.
    """

    def __init__(self, network: Network, features: LogSpectrum) -> None:
        super().__init__()
        self.network, self.features = network, features
        self.width, self.stride = network.width, network.stride

    def forward(self, values_KT: torch.Tensor, lengths_K: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, T) waves, 16 kHz, padded with anything, and (K,) lengths -> (K, F, H) and the mask (K, F)."""
        return self.network(*self.features(values_KT, lengths_K))

    def frames(self, lengths_K: torch.Tensor) -> torch.Tensor:
        """(K,) samples -> (K,) frames."""
        return -(-self.features.frames(lengths_K) // self.stride)


def drawn(make: Callable[[], Network], seed: int) -> SpectralEncoder:
    """A network of spectra with its front end; its weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(keyed("recogniser", seed) % 2**63)
        network = make()
    return SpectralEncoder(network, LogSpectrum(network.bands))
