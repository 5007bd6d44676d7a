"""A cache folder of its own for each test that writes one."""

from pathlib import Path

import pytest

from tasks.data.store import open_language


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLTM_CACHE", str(tmp_path / "cache"))
    open_language.cache_clear()
    return tmp_path / "cache"
