"""Noise from recordings: what is drawn, what it counts by, and what cannot be used."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from engine.job import identifying
from grids.errors import UserError
from tasks.augment import Augmentation
from tasks.data.audio import FULL_SCALE
from tasks.speaker.ecapa import EcapaOptions


def folder_of(place: Path, **waves: np.ndarray) -> Augmentation:
    """Noise from a folder in which these waves lie, one folder deep."""
    for name, wave_T in waves.items():
        (place / "deep").mkdir(parents=True, exist_ok=True)
        soundfile.write(place / "deep" / f"{name}.wav", wave_T.astype(np.int16), 16_000)
    return Augmentation(noise_db=(0.0, 10.0), noise_folder=str(place))


def drawn(augmentation: Augmentation, seed: int, size: int) -> np.ndarray:
    return augmentation.noise(np.random.default_rng(seed), size)


def test_noise_is_a_piece_of_a_recording_which_is_repeated_if_it_is_shorter(tmp_path: Path) -> None:
    ramp = np.arange(1, 1001)
    augmentation = folder_of(tmp_path, ramp=ramp)
    pieces = [drawn(augmentation, seed, 2500) for seed in range(8)]
    for piece in pieces:
        assert np.array_equal(piece, ramp[(int(piece[0]) - 1 + np.arange(2500)) % 1000])
    assert len({piece[0] for piece in pieces}) > 4
    assert np.array_equal(drawn(augmentation, 3, 2500), pieces[3])


def test_silence_is_no_noise(tmp_path: Path) -> None:
    piece = drawn(folder_of(tmp_path, silence=np.zeros(1000)), 0, 500)
    assert piece.any()
    assert np.abs(piece).max() < FULL_SCALE


def test_recordings_count_by_what_they_are_and_not_by_where_they_lie(tmp_path: Path) -> None:
    one = folder_of(tmp_path / "a", ramp=np.arange(1000))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    same = Augmentation(noise_db=(0.0, 10.0), noise_folder=str(tmp_path / "b"))
    other = folder_of(tmp_path / "c", ramp=np.arange(1001))
    identities = [identifying(EcapaOptions(augmentation=each)) for each in (one, same, other)]
    assert identities[0] == identities[1] != identities[2]
    assert "noise_folder" not in identities[0]["augmentation"]


def test_what_cannot_be_noise_is_one_clear_line(tmp_path: Path) -> None:
    for folder in ("relative", str(tmp_path)):
        with pytest.raises(UserError, match=r"noise_folder in \[augmentation\] is .*; allowed: an absolute path"):
            Augmentation(noise_db=(0.0, 10.0), noise_folder=folder)
    with pytest.raises(UserError, match=r"noise_folder in .* needs noise_db"):
        Augmentation(noise_folder=str(tmp_path))
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match=r"cannot read the noise '.*broken.wav'"):
        drawn(Augmentation(noise_db=(0.0, 10.0), noise_folder=str(tmp_path)), 0, 10)
