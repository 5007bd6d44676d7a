"""Results on disk: complete or absent, and a cache that is never trusted over them."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.store import SCORES_SCHEMA, Pass, Result, Store
from grids.errors import UserError
from grids.files import write_atomically
from grids.mixture import Mixture, Trial
from tasks.base import Score

TRIAL = Trial(Mixture.parse("ca+no", 8), 3)


def result(trial: Trial = TRIAL, value: float = 0.1, languages: tuple[str, ...] = ("ca", "no")) -> Result:
    scores = tuple(Score(code, "f1", value, 7, primary=True, higher_is_better=True) for code in languages)
    ran = Pass(languages, {"train": 1.5}, "cpu", {"threads": 1}, "v", "2026-01-01")
    return Result(trial, scores, (ran,), 16, 4, "c", "d", {"a": 1})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_result_comes_back_bit_for_bit(value: float) -> None:
    back = Result.from_json(result(value=value).to_json())
    assert repr(back) == repr(result(value=value))


def test_scores_table_has_the_columns_of_the_contract(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(result())
    table = store.compact(8)
    contract = {
        "trial", "mixture", "role", "donor", "samples", "seed", "language", "metric", "condition", "primary", "value",
        "higher_is_better", "n_train", "n_test", "seconds", "device", "config_sha", "data_sha", "code_version",
    }  # fmt: skip
    assert contract <= set(table.column_names)
    rows = table.to_pylist()
    assert [(r["language"], r["role"], r["donor"], r["mixture"]) for r in rows] == [
        ("ca", "cross", "no", "ca+no"), ("no", "cross", "ca", "ca+no"),
    ]  # fmt: skip
    assert pq.read_table(store.scores_path).equals(table)


def test_cache_follows_the_files(tmp_path: Path) -> None:
    store, other = Store(tmp_path), Trial(Mixture.parse("no", 8), 0)
    store.write(result())
    store.compact(8)
    store.write(result(other, languages=("no",)))
    store.write(result(value=0.2))
    assert sorted(store.compact(8)["value"].to_pylist()) == [0.1, 0.2, 0.2]
    (tmp_path / "trials" / f"{other.slug}.json").unlink()
    assert store.compact(8)["value"].to_pylist() == [0.2, 0.2]


@pytest.mark.parametrize("content", [b"", b"PAR1 garbage"])
def test_damaged_cache_is_rebuilt(tmp_path: Path, content: bytes) -> None:
    store = Store(tmp_path)
    store.write(result())
    whole = store.compact(8)
    store.scores_path.write_bytes(content)
    assert store.scored() == {TRIAL.slug: frozenset({"ca", "no"})}
    assert store.compact(8).equals(whole)


def test_known_files_are_not_opened_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(result())
    store.compact(8)
    path = tmp_path / "trials" / f"{TRIAL.slug}.json"
    stat = path.stat()
    path.write_text("damaged")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert TRIAL.slug in store.scored()
    assert len(store.compact(8)) == 2


def test_damaged_result_is_named(tmp_path: Path) -> None:
    store = Store(tmp_path)
    write_atomically(tmp_path / "trials" / f"{TRIAL.slug}.json", b'{"trial": 1')
    with pytest.raises(UserError, match=f"{TRIAL.slug}.json is damaged.*delete it"):
        store.scored()


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_who_reads_while_a_file_is_replaced_sees_the_old_one_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old and long")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old and long"
    assert path.read_bytes() == b"new"


def test_a_trial_is_there_only_with_all_its_languages(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert not store.has(TRIAL, ())
    store.write(result())
    assert store.has(TRIAL, ("ca", "no"))
    assert not store.has(TRIAL, ("ca", "no", "zh-CN"))


def test_a_result_forgets_earlier_failures(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write_failure(TRIAL, "Traceback\nValueError: no such clip\n")
    assert [(f.slug, f.cause) for f in store.failures()] == [(TRIAL.slug, "ValueError: no such clip")]
    store.write(result())
    assert store.failures() == []


def test_empty_store_compacts_to_an_empty_table(tmp_path: Path) -> None:
    assert Store(tmp_path).compact(8).schema.equals(SCORES_SCHEMA)


def test_languages_of_a_result() -> None:
    assert replace(result(), scores=result().scores[:1]).languages == {"ca"}


def test_scores_of_a_later_pass_have_its_provenance(tmp_path: Path) -> None:
    first, store = result(languages=("ca",)), Store(tmp_path)
    later = replace(first.passes[0], languages=("no",), device="H200", started="2026-02-02")
    both = replace(first, passes=(*first.passes, later), scores=result().scores)
    store.write(both)
    assert store.read(TRIAL) == both
    devices = {row["language"]: (row["device"], row["started"]) for row in store.compact(8).to_pylist()}
    assert devices == {"ca": ("cpu", "2026-01-01"), "no": ("H200", "2026-02-02")}


def test_looking_without_writing_leaves_no_file(tmp_path: Path) -> None:
    Store(tmp_path / "new").compact(8, write=False)
    assert not (tmp_path / "new").exists()


def test_result_file_is_json_for_people(tmp_path: Path) -> None:
    assert json.loads(result().to_json())["config"] == {"a": 1}
