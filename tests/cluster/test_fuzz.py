"""Site files and requests of random garbage: a job script that a shell can read, or a refusal in words."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cluster.__main__ import main
from cluster.script import Request, job_script, seconds
from cluster.site import Site, load_site
from grids.schema import from_table
from tests.fuzzing import changed, damaged, ends_well, read, words, written

ROOT = Path(__file__).parents[2]
SITE = (ROOT / "cluster" / "sites" / "apptainer.toml").read_bytes()
TOY = str(ROOT / "grids" / "toy.toml")
FULL = {
    "account": "a", "partition": "p", "sbatch": ["--exclusive"], "cpus_per_node": 4, "memory": "64G", "modules": ["m"],
    "container": {"image": "i.sif", "binds": ["/p"], "options": ["--nv"]}, "temp_dir": "/tmp", "node_local": "$TMPDIR",
    "grace_seconds": 60, "environment": {"HF_HOME": "/shared"},
}  # fmt: skip
REQUEST = Request("cltm-toy", Path("/g.toml"), Path("/r"), Path("/w"), "python", "60")


@settings(max_examples=40)
@given(changed(FULL))
def test_a_site_gives_a_script_that_a_shell_can_read_or_is_refused(table: dict[str, object]) -> None:
    site = read(lambda: from_table(Site, table))
    script = read(lambda: job_script(site, REQUEST)) if site else None
    if script is not None:
        done = subprocess.run(["bash", "-n"], input=script.encode(), capture_output=True)
        assert done.returncode == 0, done.stderr


@given(damaged(SITE))
def test_a_damaged_site_file_is_a_site_or_is_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = written(tmp_path_factory.mktemp("site"), "s.toml", content)
    read(lambda: load_site(path), named=path)


@given(words | st.from_regex(r"[0-9:-]{1,12}", fullmatch=True))
def test_a_time_limit_is_a_number_of_seconds_or_is_refused(time: str) -> None:
    assert (read(lambda: seconds(time)) or 0) >= 0


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(words | st.sampled_from(["submit", "status", "--time", "60", "--nodes", "--dry-run", TOY]), max_size=8))
def test_arguments_end_in_a_status_and_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    ends_well(lambda: main([*arguments, "--dry-run"]), capsys)
