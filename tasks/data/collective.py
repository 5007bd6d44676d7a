"""Brings languages of a Common Voice release from the Mozilla Data Collective, which publishes them one by one.

Needs the extra `data` and a key in MDC_API_KEY; each data set's licence is accepted on the site first.
"""

import os
import re
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from grids.errors import UserError

RELEASE = re.compile(r"cv-corpus-(\d+\.\d+)-\d{4}-\d{2}-\d{2}")
RESULTS = 100  # of one search; a release of one language is one


def missing(release: Path, languages: Sequence[str]) -> list[str]:
    """The languages that the folder of a release lacks; of an accent ("en@Scottish English"), its language."""
    lacking = [code.partition("@")[0] for code in languages if not (release / code).is_dir()]
    return [code for code in dict.fromkeys(lacking) if not (release / code).is_dir()]


def fetch(release: Path, language: str) -> None:
    """Downloads a language and unpacks it into the folder of its release. The same call goes on where one stopped.

    Args:
        release: the folder, named as the release is, e.g. cv-corpus-22.0-2025-06-20.
        language: a code as Common Voice writes it.

    Raises:
        UserError: no such release or language, no key, a licence not accepted, no network, no space.
    """
    version = RELEASE.fullmatch(release.name)
    if version is None:
        raise UserError(f"corpus {str(release)!r} is not there and named after no release of Common Voice: nothing is "
                        "fetched; allowed: a name like cv-corpus-22.0-2025-06-20")  # fmt: skip
    if not os.environ.get("MDC_API_KEY"):
        raise UserError(f"{release.name} lacks {language}, and there is no key to fetch it with: export MDC_API_KEY")
    try:
        import datacollective
    except ImportError:
        raise UserError("fetching data needs an extra: pip install 'cltm-engine[data]'") from None
    try:
        _unpack(_download(datacollective, release, language, version[1]), release, language)
    except UserError:
        raise
    except Exception as error:  # the client raises a dozen unrelated types
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{release.name}-{language} could not be fetched: {reason}") from None


def _download(client: Any, release: Path, language: str, version: str) -> Path:
    """The archive, beside the release's folder."""
    name = f"{release.name}-{language}.tar.gz"
    found = client.list_datasets(f"Common Voice {version}", locale=language, results_per_page=RESULTS)
    named = [one.id for one in found if one.filename == name]
    if not named:
        raise UserError(f"the Mozilla Data Collective lists no {name}; put it there by hand, or name another release")
    release.parent.mkdir(parents=True, exist_ok=True)
    return Path(client.download_dataset(named[0], download_directory=str(release.parent), show_progress=False))


def _unpack(archive: Path, release: Path, language: str) -> None:
    """Moves the archive's folder of a language to its place when it is whole; the archive goes."""
    release.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=release.parent, prefix=f".{language}-") as folder:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        (Path(folder) / release.name / language).rename(release / language)
    archive.unlink()
