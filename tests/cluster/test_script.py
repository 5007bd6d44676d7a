"""The job script as text: what it asks SLURM for, exports and quotes, and that shellcheck finds nothing."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from cluster.script import Request, job_script, seconds
from cluster.site import Container, Site, load_site
from grids.errors import UserError
from grids.resources import Sharing

SITES = Path(__file__).parents[2] / "cluster" / "sites"
REQUEST = Request(
    "cltm-demo", Path("/shared/grids/demo.toml"), Path("/shared/results/demo"), Path("/shared/code"), "/venv/python",
    "12:00:00", nodes=4,
)  # fmt: skip
EVIL = 'a b\'; touch /tmp/evil; $(touch /tmp/evil) `touch /tmp/evil` "x" \\'


def options(script: str) -> list[str]:
    """What sbatch reads."""
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


def after(script: str, name: str) -> str:
    """The value that bash gives a variable of the script's first part."""
    first = script[: script.index("job=$SLURM_JOB_ID")].replace("\ncd ", "\n: ").replace("\nmodule ", "\n: ")
    command = f'{first}\nprintf "%s\\n" "${{{name}}}"'
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True).stdout.rstrip("\n")


def test_the_same_request_gives_the_same_text() -> None:
    assert job_script(Site(), REQUEST) == job_script(Site(), REQUEST)


def test_a_plain_site_asks_for_whole_nodes_and_names_nobody() -> None:
    asked = options(job_script(Site(), REQUEST))
    assert asked == [
        "--job-name=cltm-demo", "--time=12:00:00", "--nodes=4", "--ntasks-per-node=1", "--exclusive", "--requeue",
        "--open-mode=append", "--signal=B:USR1@180", "--output=/shared/results/demo/slurm/%j.log",
    ]  # fmt: skip


def test_what_the_site_says_is_asked_for() -> None:
    site = Site(
        account="acc", partition="gpu", qos="high", sbatch=("--constraint=a100",), cpus_per_node=32, gpus_per_node=4,
        memory="0", modules=("cuda/12 x",), interface="ib0", grace_seconds=600,
    )  # fmt: skip
    script = job_script(site, REQUEST)
    wanted = {
        "--account=acc", "--partition=gpu", "--qos=high", "--constraint=a100", "--cpus-per-task=32",
        "--gpus-per-node=4", "--mem=0", "--signal=B:USR1@600",
    }  # fmt: skip
    assert wanted <= set(options(script))
    assert "--exclusive" not in options(script)
    assert "module load 'cuda/12 x'" in script
    assert after(script, "interface") == "ib0"


def test_shards_are_an_array_of_single_nodes() -> None:
    asked = options(job_script(Site(), replace(REQUEST, nodes=1, shards=5)))
    assert {"--array=0-4", "--nodes=1", "--output=/shared/results/demo/slurm/%A_%a.log"} <= set(asked)


@pytest.mark.parametrize("sharing", get_args(Sharing))
def test_each_node_is_told_how_trials_share_a_gpu(sharing: Sharing) -> None:
    script = job_script(Site(), replace(REQUEST, sharing=sharing))
    assert after(script, "sharing") == sharing
    (start,) = re.findall(r"cluster\.node start (?:.*\\\n)*.*", script)
    assert start.split()[-2:] == ['--sharing="$sharing"', "&"]


def test_a_job_waits_for_another() -> None:
    assert "--dependency=afterany:42_1" in options(job_script(Site(), replace(REQUEST, after="42_1")))


def test_nodes_are_offline_unless_the_site_says_otherwise() -> None:
    script = job_script(Site(environment={"WANDB_MODE": "online", "HF_HOME": "/shared/hf"}), REQUEST)
    assert after(script, "WANDB_MODE") == "online"
    assert [after(script, name) for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")] == ["1", "1"]
    assert after(script, "RAY_USAGE_STATS_ENABLED") == "0"
    assert after(job_script(Site(), REQUEST), "WANDB_MODE") == "offline"


def test_everything_runs_in_the_container() -> None:
    box = Container("/images/c l.sif", ("/shared", "/a:/b"), ("--nv",))
    script = job_script(Site(container=box, python="python3"), REQUEST)
    want = "apptainer exec --nv --bind=/shared --bind=/a:/b /images/c l.sif python3"
    assert after(script, "python[*]") == want
    assert "ray stop" not in [line.partition("#")[0].strip() for line in script.splitlines()]


def test_node_local_folders_may_hold_variables_of_the_job() -> None:
    script = job_script(Site(node_local="/local/$USER"), REQUEST)
    script = script.replace("#!/usr/bin/env bash", "SLURM_JOB_ID=7 USER=me")
    assert after(script, "stage") == "/local/me/cltm-7"


@pytest.mark.parametrize("field", ["grid", "folder", "python", "environment"])
def test_no_text_of_the_user_is_run(field: str) -> None:
    changes: dict[str, Any] = {"grid": Path(EVIL), "folder": Path(EVIL), "python": EVIL}
    request = replace(REQUEST, **{field: changes[field]}) if field in changes else REQUEST
    script = job_script(Site(environment={"A": EVIL}) if field == "environment" else Site(), request)
    variable = {"grid": "grid", "folder": "interface", "python": "python[0]", "environment": "A"}[field]
    assert after(script, variable) == ("" if field == "folder" else EVIL)
    assert not Path("/tmp/evil").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time": "soon"}, "--time is 'soon'; allowed: minutes, h:m:s or d-h:m:s"),
        ({"time": "3"}, "no longer than the site's grace_seconds = 180"),
        ({"nodes": 0}, "--nodes is 0"),
        ({"shards": 3}, "--shards sends jobs of one node each; got --nodes 4 too"),
        ({"after": "1; id"}, "--after is '1; id'; allowed: the number of a job"),
        ({"results": Path("/a/50%j")}, "which SLURM reads in its own way"),
    ],
)
def test_a_mistake_is_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError) as caught:
        job_script(Site(), replace(REQUEST, **changes))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("90", 5400), ("5:30", 330), ("12:00:00", 43_200), ("2-12", 216_000), ("1-2:30", 95_400), ("1-0:0:1", 86_401),
    ],
)  # fmt: skip
def test_time_limits_mean_what_slurm_means(text: str, wanted: int) -> None:
    assert seconds(text) == wanted


@pytest.mark.parametrize("name", ["", "plain", "apptainer", "four_gpus"])
def test_shellcheck_finds_nothing(name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    site = load_site(SITES / f"{name}.toml" if name else None)
    done = subprocess.run(["shellcheck", "-"], input=job_script(site, REQUEST), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_set_up_script_keeps_shellcheck_quiet() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    path = Path(__file__).with_name("slurm.sh")
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
