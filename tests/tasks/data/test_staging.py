"""Copies of prepared audio on a node's own disk."""

from pathlib import Path

import numpy as np
import pytest

from grids.errors import UserError
from grids.grid import Data
from tasks.data.prepare import Corpus, prepare
from tasks.data.staging import VARIABLE
from tasks.data.store import AUDIO, language_place, open_language
from tests.tasks.data.hostile import plain_release


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Corpus:
    monkeypatch.setenv("CLTM_CACHE", str(tmp_path / "cache"))
    prepared = prepare(str(plain_release(tmp_path, ("ca",))), ("ca",), Data())
    monkeypatch.setenv(VARIABLE, str(tmp_path / "stage"))
    open_language.cache_clear()
    return prepared


def test_a_node_reads_its_copy_and_makes_it_once(corpus: Corpus, tmp_path: Path) -> None:
    before = np.fromfile(language_place(corpus.folder, "ca") / AUDIO, "<i2")
    staged = open_language(corpus.folder, "ca")
    (copy,) = (tmp_path / "stage").glob("*.i16")
    stamp = copy.stat().st_mtime_ns
    (language_place(corpus.folder, "ca") / AUDIO).unlink()  # shared storage is not read again
    open_language.cache_clear()
    again = open_language(corpus.folder, "ca")
    assert np.array_equal(staged.samples, before)
    assert np.array_equal(again.samples, before)
    assert copy.stat().st_mtime_ns == stamp


def test_a_damaged_sample_is_found_and_no_copy_stays(corpus: Corpus, tmp_path: Path) -> None:
    audio = language_place(corpus.folder, "ca") / AUDIO
    samples = np.fromfile(audio, "<i2")
    samples[-1] ^= 1
    samples.tofile(audio)
    with pytest.raises(UserError, match="not what its manifest says"):
        open_language(corpus.folder, "ca")
    assert not list((tmp_path / "stage").glob("*.i16"))


def test_a_disk_without_room_is_named(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot copy"):
        open_language(corpus.folder, "ca")
