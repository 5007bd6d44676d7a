"""Grid files, seeds and mixtures of random garbage: read, or refused in words."""

import math
from pathlib import Path

import pytest
import tomli_w
from hypothesis import example, given
from hypothesis import strategies as st

from grids.errors import UserError
from grids.grid import load, parse
from grids.mixture import Mixture
from grids.seeds import Seeds
from tests.fuzzing import changed, damaged, garbage, read, words, written

DEMO = (Path(__file__).parents[2] / "grids" / "demo.toml").read_bytes()
FULL = {
    "task": "toy", "corpus": "none", "languages": ["ca", "es", "no"], "seeds": {"base": 3, "self": 2, "cross": [0, 1]},
    "samples": 60, "exclude": {"no": "why"}, "mixtures": ["ca+0.1*es", "ca>es", ""], "evaluate": ["fr"],
    "sizes": [], "keep": ["predictions"], "options": {}, "model": {"backbone": "tiny", "layerdrop": 0.1},
    "train": {"learning_rate": 1e-3, "epochs": 2}, "data": {"max_seconds": 20.0},
    "resources": {"gpus_per_trial": 0.5}, "tracking": {"wandb": "off"},
}  # fmt: skip


@given(changed(FULL))
def test_a_table_is_a_grid_that_counts_or_is_refused(table: dict[str, object]) -> None:
    grid = read(lambda: parse(table, "test"))
    if grid is not None:
        assert grid.trials()
        assert math.isfinite(grid.data.max_seconds)
        assert all(part.samples >= 1 for trial in grid.trials() for stage in trial.mixture.stages for part in stage)
        tomli_w.dumps({"languages": [*grid.languages], "seeds": grid.seeds.as_toml(), "samples": grid.samples})


@given(damaged(DEMO))
def test_a_damaged_file_is_a_grid_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = written(tmp_path_factory.mktemp("grid"), "g.toml", content)
    read(lambda: load(path), named=path)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"x = " + b"[" * 100_000, id="nested-lists"),
        pytest.param(b"seeds = " + b"9" * 5000, id="an-integer-of-5000-digits"),
        pytest.param(b"\x00", id="nul"),
        pytest.param(b"\xff\xfe", id="no-utf-8"),
    ],
)
def test_what_toml_readers_break_on_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UserError, match="is not TOML"):
        load(written(tmp_path, "g.toml", content))


@given(words)
def test_a_path_that_cannot_be_read_is_refused(name: str) -> None:
    with pytest.raises(UserError):
        load(f"/nowhere/{name}")


@given(garbage)
def test_seeds_are_distinct_natural_numbers_or_refused(value: object) -> None:
    seeds = read(lambda: Seeds.parse(value))
    if seeds is not None:
        assert len({*seeds.base}) == len(seeds.base) >= 1
        assert {*seeds.cross, *seeds.self_} <= {*seeds.base}
        assert all(0 <= seed < 2**63 for seed in seeds.base)


@given(
    st.lists(words | st.sampled_from(["ca", "+", ">", "*", "0.1*", "2*"]), max_size=6).map("".join),
    st.integers(0, 2**63 - 1),
)
@example("1e999999999*ca", 60)
@example("1/0*ca", 60)
def test_a_mixture_has_named_languages_with_whole_numbers_of_samples_or_is_refused(text: str, samples: int) -> None:
    mixture = read(lambda: Mixture.parse(text, samples))
    if mixture is not None:
        assert all(part.samples >= 1 and part.language.strip() for stage in mixture.stages for part in stage)
        assert mixture.text(samples) is not None
        assert mixture.slug
