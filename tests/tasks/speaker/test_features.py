"""Front ends: shapes, means, and independence of the padding."""

from typing import get_args

import pytest
import torch

from tasks.speaker.features import HOP, WINDOW, Features, Kind

KINDS = get_args(Kind)


def waves(lengths: list[int]) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(length, generator=generator) for length in lengths]


@pytest.mark.parametrize("kind", KINDS)
def test_features_do_not_depend_on_the_padding(kind: Kind) -> None:
    features, own = Features(kind), waves([4000, 16_000, 9001])
    padded = torch.nn.utils.rnn.pad_sequence(own, batch_first=True, padding_value=7.0)
    together, mask = features(padded, torch.tensor([len(wave) for wave in own]))
    for row, valid, wave in zip(together, mask, own, strict=True):
        alone, _ = features(wave[None], torch.tensor([len(wave)]))
        assert valid.sum() == alone.shape[2] == (len(wave) - WINDOW) // HOP + 1
        assert torch.allclose(row[:, valid], alone[0], rtol=0, atol=1e-5)
        assert not row[:, ~valid].any()
        assert torch.allclose(alone[0].mean(1), torch.zeros(80), atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_loudness_makes_no_difference(kind: Kind) -> None:
    (wave,) = waves([8000])
    quiet, loud = (Features(kind)(factor * wave[None], torch.tensor([8000]))[0] for factor in (1.0, 4.0))
    assert torch.allclose(quiet, loud, atol=1e-2)


def test_a_clip_shorter_than_a_window_has_one_frame() -> None:
    values, mask = Features("mfcc")(torch.ones(1, 100), torch.tensor([100]))
    assert values.shape == (1, 80, 1)
    assert mask.all()


def test_cepstra_are_the_cosine_transform_of_the_log_mels() -> None:
    (wave,) = waves([8000])
    mfcc, mel = (Features(kind)(wave[None], torch.tensor([8000]))[0][0].double() for kind in ("mfcc", "logmel"))
    band, order = torch.arange(80).double(), torch.arange(80).double()[:, None]
    basis = torch.cos(torch.pi / 80 * (band + 0.5) * order) * (2 / 80) ** 0.5
    basis[0] /= 2**0.5
    assert torch.allclose(basis @ mel, mfcc, atol=1e-3)
