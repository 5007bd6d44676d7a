"""Site files: the examples load, and mistakes are named."""

from pathlib import Path

import pytest

from cluster.site import Site, load_site
from grids.errors import UserError

EXAMPLES = sorted((Path(__file__).parents[2] / "cluster" / "sites").glob("*.toml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_loads(path: Path) -> None:
    assert load_site(path).account == "my-project"


def test_there_is_a_plain_an_apptainer_and_a_four_gpu_example() -> None:
    sites = {path.stem: load_site(path) for path in EXAMPLES}
    assert not sites["plain"].container.command()
    assert sites["apptainer"].container.command()[:2] == ("apptainer", "exec")
    assert sites["four_gpus"].gpus_per_node == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('acount = "x"', "unknown key 'acount' (did you mean 'account'?)"),
        ('account = "x; rm -rf ~"', "account is 'x; rm -rf ~'"),
        ("cpus_per_node = -1", "cpus_per_node is -1; allowed: >= 0"),
        ("grace_seconds = 5", "grace_seconds is 5; allowed: >= 30"),
        ('temp_dir = "/scratch/a/very/long/way/down/here"', "sockets allow 30"),
        ('temp_dir = "relative"', "temp_dir is 'relative'; allowed: an absolute path"),
        ('node_local = "$(id)"', "node_local is '$(id)'"),
        ('sbatch = ["a\\nb"]', "allowed: options such as"),
        ('sbatch = ["--x\\nrm -rf ~"]', "allowed: options such as"),
        ('[environment]\nWANDB_API_KEY = "x"', "environment names 'WANDB_API_KEY'"),
        ('[environment]\n"A B" = "x"', "environment names 'A B'"),
        ('[container]\nbinds = ["/a"]', "[container] has no image"),
        ("account = ", "is not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_site(path)
    assert message in str(caught.value)
    assert "WANDB_API_KEY = " not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot read site file"):
        load_site(tmp_path / "none.toml")


def test_without_a_file_nothing_is_assumed() -> None:
    assert load_site(None) == Site()
