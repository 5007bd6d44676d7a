"""Fetching a release: what arrives is whole and in its place, what goes wrong is one line. The client is made up."""

import shutil
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from grids.errors import UserError
from tasks.data.collective import fetch, missing
from tests.tasks.data.hostile import plain_release

NAME = "cv-corpus-22.0-2025-06-20"


class Client:
    """The members of `datacollective` that are used, with one published language."""

    def __init__(self, archive: Path) -> None:
        self.archive, self.downloads = archive, 0

    def list_datasets(self, query: str, *, locale: str, results_per_page: int) -> Iterator[Any]:
        assert query == "Common Voice 22.0"
        names = [f"cv-corpus-21.0-2025-03-14-{locale}.tar.gz", self.archive.name]
        return iter([SimpleNamespace(id=name, filename=name) for name in names])

    def download_dataset(self, dataset_id: str, download_directory: str, show_progress: bool) -> Path:
        assert dataset_id == self.archive.name
        self.downloads += 1
        return Path(shutil.copy(self.archive, download_directory))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    source = plain_release(tmp_path / "source", ("no",))
    archive = tmp_path / f"{NAME}-no.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(source / "no", f"{NAME}/no")
    made_up = Client(archive)
    monkeypatch.setitem(sys.modules, "datacollective", made_up)  # type: ignore[arg-type]
    monkeypatch.setenv("MDC_API_KEY", "secret")
    return made_up


def test_a_language_is_unpacked_into_its_release(client: Client, tmp_path: Path) -> None:
    release = tmp_path / "data" / NAME
    assert missing(release, ["no"]) == missing(release, ["no@west", "no@east"]) == ["no"]
    fetch(release, "no")
    assert missing(release, ["no"]) == []
    assert (release / "no" / "train.tsv").is_file()
    assert list((release / "no" / "clips").iterdir())
    assert [path.name for path in release.parent.iterdir()] == [NAME], "archive or temporary folder was left"


def test_a_broken_archive_leaves_no_language_behind(client: Client, tmp_path: Path) -> None:
    client.archive.write_bytes(client.archive.read_bytes()[:2000])
    release = tmp_path / "data" / NAME
    with pytest.raises(UserError, match=f"{NAME}-no could not be fetched"):
        fetch(release, "no")
    assert missing(release, ["no"]) == ["no"]


@pytest.mark.parametrize(
    ("release", "language", "said"),
    [(NAME, "xx", f"lists no {NAME}-xx.tar.gz"), ("my-corpus", "no", "named after no release")],
)
def test_what_is_not_published_is_said(client: Client, tmp_path: Path, release: str, language: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        fetch(tmp_path / release, language)
    assert client.downloads == 0


def test_without_key_or_client_the_remedy_is_named(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datacollective", None)
    with pytest.raises(UserError, match=r"pip install 'cltm-engine\[data\]'"):
        fetch(Path(NAME), "no")
    monkeypatch.delenv("MDC_API_KEY")
    with pytest.raises(UserError, match="export MDC_API_KEY"):
        fetch(Path(NAME), "no")
