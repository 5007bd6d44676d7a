"""The networks that start from nothing: published sizes, and no trace of a clip's padding."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tasks.asr.deepspeech import DeepSpeech2
from tasks.asr.frames import LogSpectrum, MaskedNorm, SpectralEncoder
from tasks.asr.quartznet import JASPER, QUARTZNET, Jasper

SMALL: dict[str, Callable[[], nn.Module]] = {
    "deepspeech": lambda: DeepSpeech2((4, 6), layers=2, units=12),
    "jasper": lambda: Jasper(JASPER.scaled(1 / 32, 1), 5, repeats=2),
    "quartznet": lambda: Jasper(QUARTZNET.scaled(1 / 32, 1 / 3), 5, repeats=2),
}
CHARACTERS = 29  # of the papers' English: a to z, space, apostrophe, blank


def encoder(name: str) -> SpectralEncoder:
    torch.manual_seed(0)
    network = SMALL[name]()
    return SpectralEncoder(network, LogSpectrum(network.bands))


def waves(*lengths: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and noise in the padding too."""
    return torch.randn(len(lengths), max(lengths), generator=torch.Generator().manual_seed(1)), torch.tensor(lengths)


@pytest.mark.parametrize(
    ("make", "millions"),
    [
        (DeepSpeech2, 35),
        (lambda: Jasper(JASPER, 10), 333),
        (lambda: Jasper(QUARTZNET, 5), 6.7),
        (lambda: Jasper(QUARTZNET, 10), 12.8),
        (lambda: Jasper(QUARTZNET, 15), 18.9),
    ],
    ids=["DS2", "Jasper 10x5", "QuartzNet 5x5", "QuartzNet 10x5", "QuartzNet 15x5"],
)
def test_a_network_has_the_published_number_of_parameters(make: Callable[[], nn.Module], millions: float) -> None:
    with torch.device("meta"):
        network = make()
    head = (network.width + 1) * CHARACTERS
    count = sum(parameter.numel() for parameter in network.parameters()) + head
    assert round(count / 1e6, 1 if millions < 20 else 0) == millions


@pytest.mark.parametrize("name", SMALL)
def test_frames_do_not_depend_on_the_batch(name: str) -> None:
    whole, (values_KT, lengths_K) = encoder(name).train(), waves(9000, 16000, 5001, 700)
    whole(values_KT, lengths_K)  # running statistics other than 0 and 1
    whole.eval()
    together, mask_KF = whole(values_KT, lengths_K)
    assert mask_KF.sum(1).tolist() == whole.frames(lengths_K).tolist()
    for row, length in enumerate(lengths_K):
        alone, alone_mask = whole(values_KT[row : row + 1, :length], length[None])
        assert bool(alone_mask.all())
        torch.testing.assert_close(alone[0], together[row][mask_KF[row]], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_padding_takes_no_part_in_training(name: str) -> None:
    made, (values_KT, lengths_K) = encoder(name), waves(9000, 9000)
    found = []
    for extra in (0, 8000):
        network = encoder(name)
        network.load_state_dict(made.state_dict())
        for part in network.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
        frames_KFH, mask_KF = network(nn.functional.pad(values_KT, (0, extra), value=0.7), lengths_K)
        frames_KFH[mask_KF].square().sum().backward()
        statistics = [buffer for name, buffer in network.named_buffers() if "running" in name]
        found.append([frames_KFH[mask_KF], *statistics, *(p.grad for p in network.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_masked_norm_is_batch_norm_over_own_frames() -> None:
    hidden_KCF, mask_KF = torch.randn(2, 3, 5), torch.tensor([[True] * 5, [True, True, False, False, False]])
    normed_KCF = MaskedNorm(3)(hidden_KCF, mask_KF)
    own = torch.cat([normed_KCF[0], normed_KCF[1, :, :2]], dim=1)
    torch.testing.assert_close(own.mean(1), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(own.var(1, unbiased=False), torch.ones(3), rtol=0, atol=1e-2)
    assert not normed_KCF[1, :, 2:].any()


@pytest.mark.parametrize("bands", [0, 64])
def test_features_are_normalised_over_a_clips_own_frames(bands: int) -> None:
    features_KCF, mask_KF = LogSpectrum(bands)(*waves(9000, 5000))
    for features_CF, mask_F in zip(features_KCF, mask_KF, strict=True):
        own_CF = features_CF[:, mask_F]
        torch.testing.assert_close(own_CF.mean(1), torch.zeros(bands or 161), rtol=0, atol=1e-4)
        torch.testing.assert_close(own_CF.std(1, unbiased=False), torch.ones(bands or 161), rtol=0, atol=0.02)
        assert not features_CF[:, ~mask_F].any()


def test_a_stream_sees_the_frames_of_the_whole_clip() -> None:
    spectrum, (values_KT, lengths_K) = LogSpectrum(80, normalised=False), waves(8000)
    whole, _ = spectrum(values_KT, lengths_K)
    later, _ = spectrum(values_KT[:, 1600:], lengths_K - 1600)
    torch.testing.assert_close(whole[:, :, 10:], later)


@pytest.mark.parametrize("dense", [True, False])
def test_every_block_of_a_dense_network_sees_all_before_it(dense: bool) -> None:
    network = Jasper((JASPER if dense else QUARTZNET).scaled(1 / 32, 1), 10, repeats=1)
    assert [len(block.residuals) for block in network.blocks] == (list(range(1, 11)) if dense else [1] * 10)


def test_a_scaled_table_keeps_odd_kernels_and_those_of_one_frame() -> None:
    table = QUARTZNET.scaled(0.25, 1 / 3)
    assert [stage.channels for stage in table.blocks] == [64, 64, 128, 128, 128]
    assert [stage.kernel for stage in table.blocks] == [11, 13, 17, 21, 25]
    assert [stage.kernel for stage in table.last] == [29, 1]
    assert QUARTZNET.scaled(1, 1) == QUARTZNET
