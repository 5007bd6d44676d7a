"""Results folders and arguments of random garbage: read, or refused in words."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.__main__ import main
from engine.store import SCORES_SCHEMA, Store
from tests.engine.test_store import TRIAL, result
from tests.fuzzing import changed, damaged, ends_well, read, words, written

ROOT = Path(__file__).parents[2]
TOY = str(ROOT / "grids" / "toy.toml")
CONTENT = result().to_json()
VALUES = json.loads(CONTENT)


def check(folder: Path, content: bytes) -> None:
    """A result file with this content gives finite scores of known languages, or is refused by name."""
    store = Store(folder)
    (folder / "trials").mkdir()
    path = written(folder / "trials", f"{TRIAL.slug}.json", content)
    table = read(lambda: store.compact(8), named=path)
    if table is not None:
        assert table.schema.equals(SCORES_SCHEMA)
        assert {*table["trial"].to_pylist()} <= {TRIAL.slug}
        assert all(math.isfinite(value) for value in table["value"].to_pylist())
        assert store.scored() is not None


@given(damaged(CONTENT))
@example(b"[" * 100_000)
@example(b'{"trial": ' * 100_000)
@example(CONTENT.replace(b"0.1", b"NaN"))
@example(CONTENT.replace(b"0.1", b"1e999"))
@example(CONTENT.replace(b'"seed": 3', b'"seed": 4'))
@example(CONTENT.replace(b'"seed": 3', b'"seed": "3"'))
@example(CONTENT.replace(b'"n_train": 16', b'"n_train": ' + b"9" * 30))
def test_a_damaged_result_file_is_whole_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    check(tmp_path_factory.mktemp("r"), content)


@given(
    changed(VALUES)
    | changed(VALUES["scores"][0]).map(lambda one: {**VALUES, "scores": [one]})
    | changed(VALUES["passes"][0]).map(lambda one: {**VALUES, "passes": [one]})
)
def test_a_result_of_wrong_types_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, values: dict[str, Any]
) -> None:
    check(tmp_path_factory.mktemp("r"), json.dumps(values, default=str).encode())


@pytest.mark.slow
@settings(max_examples=40)
@given(damaged(b"PAR1" + b"\x00" * 60 + b"PAR1"), st.booleans())
def test_a_damaged_table_is_rebuilt_whatever_it_holds(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, whole: bool
) -> None:
    store = Store(tmp_path_factory.mktemp("r"))
    store.write(result())
    table = store.compact(8)
    store.scores_path.write_bytes(store.scores_path.read_bytes()[: -len(content)] + content if whole else content)
    assert store.compact(8).equals(table)


@pytest.mark.slow
@given(st.binary(max_size=60))
def test_a_damaged_failure_file_has_a_cause(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    store = Store(tmp_path_factory.mktemp("r"))
    store.write_failure(TRIAL, "boom")
    (path,) = (failure.path for failure in store.failures())
    path.write_bytes(content)
    assert isinstance(store.failures()[0].cause, str)
    store.write_failure(TRIAL, "again")
    assert store.cause(TRIAL) == "again"


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A results folder with one trial of the toy grid."""
    folder = tmp_path / "filled"
    Store(folder).write(result())
    (folder / "grid.toml").write_bytes((ROOT / "grids" / "toy.toml").read_bytes())
    return folder


ARGUMENTS = ["--languages", "--seeds", "--only", "base", "--results", "--pilot", "--dry-run", "-n", "--entity", TOY]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["plan", "status", "sync"]) | words,
    words | st.sampled_from([TOY, "FILLED"]),
    st.lists(words | st.sampled_from(ARGUMENTS), max_size=6),
)
@example("plan", TOY, ["--seeds", "0-99999999999999999999"])
@example("plan", TOY, ["--results", "x" * 300])
@example("status", "x" * 300, [])
@example("status", "FILLED", [])
def test_arguments_end_in_a_status_and_one_line(
    filled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    command: str, what: str, rest: list[str],
) -> None:  # fmt: skip
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.chdir(filled.parent)
    rest = [text for text in rest if not text.startswith("--pi")]  # which would train
    arguments = [str(filled) if text == "FILLED" else text for text in (command, what, *rest)]
    ends_well(lambda: main(arguments), capsys)


@given(damaged(b'{"config": {}, "data": {"ca": "x"}}'), damaged(Path(TOY).read_bytes()))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_damaged_results_folder_is_refused_in_one_line(
    filled: Path, capsys: pytest.CaptureFixture[str], identity: bytes, grid: bytes
) -> None:
    written(filled, "identity.json", identity)
    ends_well(lambda: main(["plan", TOY, "--results", str(filled)]), capsys)
    written(filled, "grid.toml", grid)
    ends_well(lambda: main(["status", str(filled)]), capsys)
