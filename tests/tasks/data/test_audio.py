"""One file to samples."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from tasks.data.audio import DecodeError, decode, snr_db
from tests.tasks.data.hostile import pitch_hz, write_tone


def test_16_khz_mono_16_bit_comes_back_bit_by_bit(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 4000).astype(np.int16)
    samples[:2] = -32768, 32767
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="PCM_16")
    assert decode(tmp_path / "a.wav").tobytes() == samples.tobytes()


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate_hz", [16_000, 32_000, 48_000])
def test_mp3_of_every_format_keeps_length_and_pitch(tmp_path: Path, rate_hz: int, channels: int) -> None:
    write_tone(tmp_path / "tone.mp3", 1.0, rate_hz, channels)
    wave = decode(tmp_path / "tone.mp3")
    assert wave.dtype == np.dtype("<i2")
    assert wave.shape == (16_000,)
    assert np.abs(np.fft.rfft(wave)).argmax() == pytest.approx(pitch_hz("tone.mp3"), abs=1)


def test_stereo_is_the_mean_of_its_channels(tmp_path: Path) -> None:
    left, right = np.array([0.5, -0.25, 0.125]), np.array([0.25, 0.25, -0.125])
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    assert decode(tmp_path / "a.wav").tolist() == [12288, 0, 0]


def test_values_beyond_full_scale_are_cut_off_and_do_not_wrap_around(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([1.5, -1.5, 1.0, 0.0]), 16_000, subtype="FLOAT")
    assert decode(tmp_path / "a.wav").tolist() == [32767, -32768, 32767, 0]


def test_reading_stops_a_second_after_the_longest_allowed(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.wav", 10.0, 8_000)
    assert decode(tmp_path / "a.wav", max_seconds=2.0).size == 3 * 16_000


def test_a_cut_mp3_decodes_without_an_error(tmp_path: Path) -> None:
    write_tone(tmp_path / "a.mp3", 3.0)
    (tmp_path / "a.mp3").write_bytes((tmp_path / "a.mp3").read_bytes()[:4000])
    assert 0 < decode(tmp_path / "a.mp3").size < 2 * 16_000


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "missing"), (b"", "empty"), (bytes(range(256)) * 8, "undecodable"), (b"RIFF", "undecodable")],
)
def test_a_file_without_samples_gives_a_plain_reason(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(DecodeError) as caught:
        decode(tmp_path / "a.mp3")
    assert caught.value.reason == reason
    assert "does not exist" not in str(caught.value)


def test_a_header_without_samples_is_empty(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    with pytest.raises(DecodeError, match="no samples"):
        decode(tmp_path / "a.wav")


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    with pytest.raises(DecodeError, match="no numbers"):
        decode(tmp_path / "a.wav")


@pytest.mark.parametrize("planted_db", [5, 15, 25])
def test_the_estimated_signal_to_noise_ratio_is_the_planted_one_where_speech_pauses(planted_db: int) -> None:
    random = np.random.default_rng(0)
    speech = np.sin(np.arange(32_000) * 0.3) * np.repeat([1.0, 0.0] * 4, 4000) * 2**0.5
    wave = 2000 * (speech + random.normal(0, 10 ** (-planted_db / 20), speech.size))
    assert snr_db(wave.astype(np.int16)) == pytest.approx(planted_db, abs=1.5)


def test_digital_silence_between_words_is_no_infinite_ratio() -> None:
    wave = np.zeros(16_000, np.int16)
    wave[4000:8000] = 1000
    assert snr_db(wave) == pytest.approx(60, abs=0.1)
