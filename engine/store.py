"""The results of a grid on disk: one file a finished trial, and `scores.parquet`, a cache of them all.

    results/<grid>/
        grid.toml             the resolved grid: every key, all languages and seeds that were ever asked for
        identity.json         what a later run may not change (`Identity`)
        trials/<slug>.json    one finished trial: scores, counts, seconds, hashes, the resolved configuration
        failures/<slug>.txt   why a trial that has no result failed, each time; the last line is the last cause
        runs/, claims/        who fills the folder now (`engine.claims`)
        scores.parquet        every score, one row a (trial, language, metric, condition); rebuilt from trials/
        states/<slug>.pt      where a long training stands (`engine.checkpoints`)
        predictions/, embeddings/, checkpoints/   what the grid's `keep` asks for
        wandb/, curves/       W&B runs, and the curves of trials that have no run of their own

A result file that exists is complete. Nothing is a database, so a shared cluster file system will do, and any number of
readers. This module imports neither Ray nor torch.
"""

import errno
import hashlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from grids.errors import UserError
from grids.files import PARTIAL, replacing, write_atomically
from grids.mixture import Trial
from grids.schema import from_table
from tasks.base import Score

FOLDER_NAME = "the results folder"  # in what people read
SCORES_SCHEMA = pa.schema(
    [
        ("trial", pa.string()), ("mixture", pa.string()), ("role", pa.string()), ("donor", pa.string()),
        ("samples", pa.int64()), ("seed", pa.int64()), ("language", pa.string()), ("metric", pa.string()),
        ("condition", pa.string()), ("primary", pa.bool_()), ("value", pa.float64()),
        ("higher_is_better", pa.bool_()), ("n_train", pa.int64()), ("n_test", pa.int64()), ("steps", pa.int64()),
        ("seconds", pa.float64()), ("device", pa.string()), ("config_sha", pa.string()), ("data_sha", pa.string()),
        ("code_version", pa.string()), ("started", pa.string()), ("stored_ns", pa.int64()),
        ("phases", pa.string()), ("numerics", pa.string()),
    ]
)  # fmt: skip
logger = logging.getLogger(__name__)
PAUSES = (0.5, 2.0, 8.0)  # seconds
PASSING = (errno.EIO, errno.ESTALE, errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.EINTR, errno.ENOLCK)


@dataclass(frozen=True)
class Identity:
    """What may change a trial's numbers, beside its own mixture and seed.

    Attributes:
        config: task, options, model, training, data rules, all resolved.
        data: language -> hash of its prepared clips.
    """

    config: Mapping[str, Any]
    data: Mapping[str, str]

    @property
    def config_sha(self) -> str:
        """Hash of the configuration."""
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]

    def data_sha(self, languages: tuple[str, ...]) -> str:
        """Hash of the data of these languages; "" for a task without a corpus."""
        known = {code: self.data[code] for code in sorted(languages) if code in self.data}
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16] if known else ""


@dataclass(frozen=True)
class Pass:
    """One time that a trial ran: it was trained and scored, or scored on languages that it lacked.

    Attributes:
        languages: those scored.
        seconds: phase -> seconds (data, load, train, evaluate, keep).
        device: what it ran on.
        numerics: what limits exactness: threads, workers, precision (also that of evaluation, where it is another one),
            on a GPU whether TF32 was used, library versions; and how a GPU was shared.
        code_version: version of this program.
        started: ISO 8601, UTC.
        peak_bytes: the most memory of the GPU that the trial held at once, without evaluation where that takes what is
            left; 0 on a CPU.
        trained_share: of the network's parameters, those that learn; 0 of a network without any; None if unknown.
    """

    languages: tuple[str, ...]
    seconds: Mapping[str, float]
    device: str
    numerics: Mapping[str, Any]
    code_version: str
    started: str
    peak_bytes: int = 0
    trained_share: float | None = None

    @property
    def columns(self) -> dict[str, Any]:
        """What the pass says in `scores.parquet`; phases and numerics as JSON."""
        return {
            "seconds": sum(self.seconds.values()), "device": self.device, "code_version": self.code_version,
            "started": self.started, "phases": json.dumps(dict(self.seconds)),
            "numerics": json.dumps(dict(self.numerics), sort_keys=True),
        }  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A finished trial.

    Attributes:
        trial: which one.
        scores: every language and metric.
        passes: how the scores came about; each language is scored in one pass.
        n_train: training clips of the largest stage.
        steps: optimiser steps.
        config_sha: hash of what may change a trial's numbers, beside its own mixture and seed.
        data_sha: hash of the prepared data of the languages it was trained and scored on.
        config: the resolved configuration that config_sha stands for.
    """

    trial: Trial
    scores: tuple[Score, ...]
    passes: tuple[Pass, ...]
    n_train: int
    steps: int
    config_sha: str
    data_sha: str
    config: Mapping[str, Any]

    @property
    def languages(self) -> frozenset[str]:
        """The languages it has scores of."""
        return frozenset(score.language for score in self.scores)

    def rows(self, samples: int, stored_ns: int = 0) -> list[dict[str, Any]]:
        """The rows of `scores.parquet` that the result stands for.

        Args:
            samples: N of the grid, which says what each score is in the matrix.
            stored_ns: when the result file was written.
        """
        shared = {
            "trial": self.trial.slug, "mixture": self.trial.mixture.text(samples),
            "samples": self.trial.mixture.block(samples), "seed": self.trial.seed, "n_train": self.n_train,
            "steps": self.steps, "config_sha": self.config_sha, "data_sha": self.data_sha, "stored_ns": stored_ns,
        }  # fmt: skip
        source = {language: columns for one in self.passes for columns in [one.columns] for language in one.languages}
        rows = []
        for score in self.scores:
            role, donor = self.trial.mixture.role(score.language, samples)
            rows.append({**shared, **source[score.language], **vars(score), "role": role, "donor": donor})
        return rows

    def to_json(self) -> bytes:
        """The result file's content. Floats come back bit for bit."""
        values = {**asdict(self), "trial": self.trial.as_dict()}
        return json.dumps(values, indent=1, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> "Result":
        """The result that `to_json` wrote.

        Raises:
            ValueError, KeyError, TypeError, RecursionError: the content is no result.
        """
        values = json.loads(content)
        result = from_table(cls, {**values, "trial": Trial.from_dict(values["trial"])})
        if not result.languages <= {language for one in result.passes for language in one.languages}:
            raise ValueError("no pass has scored some of its languages")
        return result


@dataclass(frozen=True)
class Failure:
    """Why a trial has no result."""

    slug: str
    cause: str
    path: Path


class Store:
    """A results folder. The only place that knows its file names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.grid_path = folder / "grid.toml"
        self.identity_path = folder / "identity.json"
        self.scores_path = folder / "scores.parquet"
        self._trials = folder / "trials"
        self._failures = folder / "failures"

    def kept_path(self, kind: str, trial: Trial, suffix: str) -> Path:
        """Where a trial leaves its predictions, embeddings or checkpoint."""
        return self.folder / kind / f"{trial.slug}{suffix}"

    def kept(self, kind: str, suffix: str = ".parquet") -> dict[str, Path]:
        """The files of a kind that are there: the trial's slug -> path."""
        found = (self.folder / kind).glob(f"[!.]*{suffix}")
        return {path.name.removesuffix(suffix): path for path in sorted(found)}

    def state_path(self, trial: Trial) -> Path:
        """Where a long training leaves its state, to go on from."""
        return self.folder / "states" / f"{trial.slug}.pt"

    def identity(self) -> Identity | None:
        """What a later run may not change; None of a folder that no run has made its own.

        Raises:
            UserError: the file is damaged.
        """
        if not self.identity_path.exists():
            return None
        try:
            return from_table(Identity, json.loads(self.identity_path.read_text(encoding="utf-8")))
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.identity_path} is damaged: {error}") from None

    @property
    def has_trials(self) -> bool:
        """Whether result files lie here, and not only their table."""
        return self._trials.is_dir()

    def write(self, result: Result) -> None:
        """Stores a finished trial and forgets its earlier failures and its training's state.

        Raises:
            OSError: it could not be written; errors that pass were waited for.
        """
        content = result.to_json()
        _patiently(lambda: write_atomically(self._result_path(result.trial), content))
        self.state_path(result.trial).unlink(missing_ok=True)
        self._failure_path(result.trial).unlink(missing_ok=True)

    def read(self, trial: Trial) -> Result | None:
        """A trial's result, or None if it has none.

        Raises:
            UserError: the file is damaged.
        """
        return _read(path) if (path := self._result_path(trial)).exists() else None

    def has(self, trial: Trial, languages: Iterable[str]) -> bool:
        """Whether a trial has scores of all these languages."""
        result = self.read(trial)
        return result is not None and result.languages >= set(languages)

    def write_failure(self, trial: Trial, text: str) -> None:
        """Adds why a trial failed to its earlier failures; the last line is the cause."""
        path = self._failure_path(trial)
        earlier = path.read_text(encoding="utf-8", errors="replace") + "\n" if path.exists() else ""
        where = f"{datetime.now(UTC).isoformat(timespec='seconds')} on {socket.gethostname()}"
        write_atomically(path, f"{earlier}{where}:\n{text.rstrip()}\n")

    def cause(self, trial: Trial) -> str:
        """The last line of why a trial failed; "" if nothing was kept."""
        path = self._failure_path(trial)
        return _last_line(path) if path.exists() else ""

    def failures(self) -> list[Failure]:
        """The trials that failed and have no result."""
        paths = sorted(self._failures.glob("[!.]*.txt"))
        return [Failure(path.stem, _last_line(path), path) for path in paths]

    def results(self) -> Iterable[Result]:
        """Every finished trial, by name."""
        for path in sorted(self._trials.glob("*.json")):
            yield _read(path)

    def scored(self) -> dict[str, frozenset[str]]:
        """Slug of each finished trial -> the languages it has scores of. Opens only files that are new."""
        known, found = self._cached(), {}
        for path, stamp in self._stamps():
            cached_stamp, languages = known.get(path.stem, (None, frozenset[str]()))
            found[path.stem] = languages if cached_stamp == stamp else _read(path).languages
        return found

    def compact(self, samples: int, write: bool = True) -> pa.Table:
        """Brings `scores.parquet` up to date with the result files, opening only those that are new.

        Args:
            samples: N of the grid, which says what each score is in the matrix (its role); 0 for a curve, in which
                a model of one language is a base, whatever the size of its block.
            write: False leaves the file as it is.

        Returns:
            The table, sorted by trial, language, metric and condition.
        """
        old = self._cached_table()
        stamps = {path.stem: (path, stamp) for path, stamp in self._stamps()}
        known = dict(zip(old["trial"].to_pylist(), old["stored_ns"].to_pylist(), strict=True))
        fresh = {slug for slug, (_, stamp) in stamps.items() if known.get(slug) != stamp}
        keep = [slug in stamps and slug not in fresh for slug in old["trial"].to_pylist()]
        rows = [row for slug in sorted(fresh) for row in _read(stamps[slug][0]).rows(samples, stamps[slug][1])]
        table = pa.concat_tables([old.filter(pa.array(keep, pa.bool_())), pa.Table.from_pylist(rows, SCORES_SCHEMA)])
        table = table.sort_by([(name, "ascending") for name in ("trial", "language", "metric", "condition")])
        if write and (rows or len(table) != len(old) or not self.scores_path.exists()):
            with replacing(self.scores_path) as partial:
                pq.write_table(table, partial)
        return table

    def clear_partial(self, seconds: float) -> None:
        """Removes what killed writers left so long ago."""
        for path in self.folder.glob(f"**/{PARTIAL}*"):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink(missing_ok=True)

    def _result_path(self, trial: Trial) -> Path:
        return self._trials / f"{trial.slug}.json"

    def _failure_path(self, trial: Trial) -> Path:
        return self._failures / f"{trial.slug}.txt"

    def _stamps(self) -> list[tuple[Path, int]]:
        """Every result file with the time it was written, by name."""
        if not self._trials.is_dir():
            return []
        with os.scandir(self._trials) as entries:
            visible = [entry for entry in entries if entry.name.endswith(".json") and not entry.name.startswith(".")]
            visible.sort(key=lambda entry: entry.name)
            return [(Path(entry.path), entry.stat().st_mtime_ns) for entry in visible]

    def _cached_table(self) -> pa.Table:
        """`scores.parquet` as it is, or an empty table where it is missing, unreadable or of another shape."""
        try:
            table = pq.read_table(self.scores_path)
        except (OSError, pa.ArrowException):
            return SCORES_SCHEMA.empty_table()
        return table if table.schema.equals(SCORES_SCHEMA) else SCORES_SCHEMA.empty_table()

    def _cached(self) -> dict[str, tuple[int, frozenset[str]]]:
        """Slug -> (time written, languages scored), of the trials in `scores.parquet`."""
        table = self._cached_table()
        stamps = dict(zip(table["trial"].to_pylist(), table["stored_ns"].to_pylist(), strict=True))
        return {slug: (stamps[slug], languages) for slug, languages in scored_in(table).items()}


def scored_in(table: pa.Table) -> dict[str, frozenset[str]]:
    """Slug of each trial in a table of scores -> the languages it has scores of."""
    by_trial = table.group_by("trial").aggregate([("language", "distinct")])
    slugs, languages = by_trial["trial"].to_pylist(), by_trial["language_distinct"].to_pylist()
    return dict(zip(slugs, map(frozenset, languages), strict=True))


def _patiently(write: Callable[[], None]) -> None:
    """Calls it, and again after a pause where a network file system had an error that passes."""
    for pause in PAUSES:
        try:
            return write()
        except OSError as error:
            if error.errno not in PASSING:
                raise
            logger.warning("writing again in %g s: %s", pause, error)
            time.sleep(pause)
    return write()


def _last_line(path: Path) -> str:
    """The last line of a text file."""
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _read(path: Path) -> Result:
    """The result in a file, or a `UserError` that names the file."""
    try:
        result = Result.from_json(path.read_bytes())
        if result.trial.slug != path.stem:
            raise ValueError(f"it holds the trial {result.trial.slug}")
        return result
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise UserError(f"result file {path} is damaged ({cause}); delete it to train that trial again") from None
