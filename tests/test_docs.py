"""Every command line of the documentation is one that its parser takes, and runs in a fresh folder or says why not."""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from grids.grid import parse
from tasks import TASKS, task_class
from tests.analysis.factories import Folder, results, truth
from tests.tasks.data.hostile import plain_release
from tests.test_house import DOCS, ROOT

PROGRAM = re.compile(r"(python|make|ray|pip) ")
FAR = re.compile(r"(?<=\s)/(data|shared)/")  # where the documentation has corpora and shared storage
STATUS = {
    "feasibility": (0, 1),
    "doctor": (0, 1),
}  # 1: not every language has enough clips; the machine lacks something

SLURM = "needs SLURM; tests/cluster runs it where there is one, and --dry-run is tried here"
RAY = "needs a running Ray cluster; tests/engine/test_job_submit.py starts one"
MINE = """
task = "gender"
languages = ["ca", "es", "eu"]
seeds = 4
samples = 4
model = { backbone = "tiny" }
"""
DEVICE = "measures a GPU for minutes; tests/benchmarks/test_device.py runs it small, on a CPU"
TRAINS = "trains for a minute; tests/engine runs such grids"
KEPT = "needs a trained recogniser; tests/tasks/asr/test_checkpoint.py and test_scratch.py make one"
NOT_RUN = {
    "python -m pytest tests/tasks/test_contract.py -k lid": "these tests",
    "make gpu-test": "needs a GPU",
    "python -m engine plan grids/demo_lid.toml": "makes the synthetic corpus; the same command runs on mine.toml",
    "python -m engine run grids/demo_lid.toml": TRAINS,
    "python -m analysis.cltm results/demo_lid": "needs what the line before it makes",
    "python -m engine plan grids/demo_asr.toml": "makes the synthetic corpus; the same command runs on mine.toml",
    "python -m engine run grids/demo_asr.toml": TRAINS,
    "python -m analysis.cltm results/demo_asr": "needs what the line before it makes",
    "python -m tasks.asr.transcribe a.wav b.mp3 --checkpoint results/mine/checkpoints/ca-400_seed0_1a2b3c4d": KEPT,
    "python -m tasks.asr.stream a.wav --checkpoint results/demo_asr_emformer/checkpoints/ca-480_seed0_1a2b3c4d": KEPT,
    "python -m tests.transfer transfer": "trains for minutes; tests/test_experiments.py",
    "python -m engine run grids/demo_translation_sources.toml": TRAINS,
    "python -m analysis.cltm results/demo_translation_sources --metric chrf": "needs what the line before it makes",
    "python -m engine run grids/demo_translation_sources_en.toml": TRAINS,
    "python -m analysis.compare results/demo_translation_sources results/demo_translation_sources_en --metric chrf": (
        "needs what the lines before it make"
    ),
    'python -m analysis.cltm results/mine --condition "noise 10 dB"': "tests/analysis/test_metrics.py",
    "python -m analysis.predict results/retrieval results/gender --out retrieval-gender": (
        "needs the results of two grids; tests/analysis/test_predict.py"
    ),
    "python -m tests.benchmarks.device": DEVICE,
    "python -m tests.benchmarks.device --only steps hours --budget 500 --out found.jsonl": DEVICE,
    "python -m tests.benchmarks.device --end-to-end": DEVICE,
    "make demo": "trains for minutes; CI runs the parts of it as tests",
    "make test": "these tests",
    "python -m cluster submit mine.toml --nodes 4 --time 12:00:00 --site cluster/sites/plain.toml": SLURM,
    "python -m cluster submit grids/demo.toml --nodes 4 --time 12:00:00 --site site.toml": SLURM,
    "python -m cluster submit grids/toy.toml --nodes 2 --time 10 --site site.toml": SLURM,
    "python -m cluster submit grids/mine.toml --nodes 4 --time 12:00:00 --site site.toml": SLURM,
    "python -m cluster status results/toy": SLURM,
    "python -m cluster status results/mine": SLURM,
    "python -m engine dashboard results/mine": "needs a W&B account; tests/engine/test_dashboard.py",
    "python -m analysis.geometry results/mine": "needs kept embeddings; tests/analysis/test_geometry.py",
    "ray job submit --working-dir . -- python -m engine run grids/demo.toml": RAY,
    "ray job submit --working-dir . --runtime-env-json "
    """'{"env_vars": {"CLTM_RESULTS": "/shared/me", "CLTM_CACHE": "/shared/me/cache"}}' """
    "-- python -m engine run grids/mine.toml": RAY,
}


class ParsedError(Exception):
    """The parser took the arguments; nothing ran."""


def code_lines(text: str) -> list[str]:
    """The lines of indented and of fenced blocks, continued ones joined, without their comments."""
    fenced, lines = False, []
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            lines.append(re.sub(r"\s+#.*$", "", line).strip())
    return lines


COMMANDS = tuple(
    dict.fromkeys(line for path in DOCS for line in code_lines(path.read_text("utf-8")) if PROGRAM.match(line))
)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A folder with what the documentation calls by name: grids, a site file, a release, results, scores."""
    for name in ("grids", "cluster/sites", "tests/data"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    shutil.copy(ROOT / "cluster" / "sites" / "plain.toml", tmp_path / "site.toml")
    release = plain_release(tmp_path / "data", ["ca", "es", "eu"])
    for path in (tmp_path / "mine.toml", tmp_path / "grids" / "mine.toml"):
        path.write_text(MINE + f"corpus = {str(release)!r}\n", "utf-8")
    (tmp_path / "shared" / "me").mkdir(parents=True)
    (tmp_path / "shared" / "me" / "results").symlink_to(tmp_path / "results")
    planted = truth(3)
    planted = type(planted)(("ca", "es", "eu"), planted.r, planted.base, planted.gain)
    for number, name in enumerate(("demo", "demo_speaker", "demo_curve", "a", "b")):
        results(tmp_path / "results" / name, planted, Folder(seeds=range(4 * number, 4 * number + 4), noise=0.01))
    rows = [f"m,{kind},{one},{donor},{seed},{0.5 + 0.01 * seed + 0.1 * len(donor)}" for seed in range(3)
            for one in ("ca", "es") for kind, donor in (("single", ""), ("dual", "ca"), ("dual", "es"))]  # fmt: skip
    (tmp_path / "scores.csv").write_text("\n".join(["model_id,type,lang_src,lang_tgt,seed,f1", *rows]), "utf-8")
    return tmp_path


def test_the_walk_sees_commands_and_every_reason_is_of_one() -> None:
    assert len(COMMANDS) > 30
    assert not {*NOT_RUN} - {*COMMANDS}, "the documentation no longer has these commands"


@pytest.mark.parametrize("command", COMMANDS)
def test_parsers_take_each_command(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *words = shlex.split(command.rpartition(" -- ")[2])
    if program == "make":
        assert {*words} <= {*re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)}
        return
    assert (program, words[0]) == ("python", "-m")
    if words[1] == "pytest":
        assert Path(ROOT, words[2]).is_file()
        return
    take = argparse.ArgumentParser.parse_args

    def stop(self: argparse.ArgumentParser, *given: object) -> None:
        take(self, *given)  # type: ignore[call-overload]
        raise ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    module = words[1] if find_spec(words[1]).submodule_search_locations is None else f"{words[1]}.__main__"  # type: ignore[union-attr]
    with pytest.raises(ParsedError):
        import_module(module).main(words[2:])


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_named_in_sentences_exist(path: Path) -> None:
    text = path.read_text("utf-8")
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert {*re.findall(r"`make ([\w-]+)`", text)} <= {*targets}
    assert all(find_spec(name) for name in re.findall(r"`python -m ([\w.]+)", text))


def test_the_grid_that_the_readme_writes_is_one() -> None:
    lines = code_lines((ROOT / "README.md").read_text("utf-8"))
    block = [line for line in lines if re.match(r"\w+ = |\[\w+\]$", line)]
    assert len(parse(tomllib.loads("\n".join(block)), "mine").languages) == 5


@pytest.mark.parametrize("name", [name for name in TASKS if name.startswith("asr/")])
def test_the_page_on_speech_recognition_has_every_option(name: str) -> None:
    page = (ROOT / "docs" / "asr.md").read_text("utf-8")
    own = {option.name for option in fields(task_class(name).Options) if option.init} - {"rules"}  # hashes are not set
    assert not {option for option in own if not re.search(rf"`(\[options\.)?{option}\]?`", page)}


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.ray
def test_commands_run_in_the_order_of_the_documentation(fresh: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "CLTM_CACHE": str(fresh / "cache"), "WANDB_MODE": "offline"}
    environment.pop("WANDB_API_KEY", None)
    wrong = []
    for command in (command for command in COMMANDS if command not in NOT_RUN):
        words = shlex.split(FAR.sub(lambda found: f"{fresh}{found[0]}", command))
        assert words[:2] == ["python", "-m"], f"{command}: run it here, or say in NOT_RUN why not"
        done = subprocess.run([sys.executable, *words[1:]], cwd=fresh, env=environment, capture_output=True, text=True)
        if done.returncode not in STATUS.get(words[3], (0,)):
            wrong.append(f"{command}\n{done.returncode}: {(done.stderr or done.stdout)[-600:]}")
    assert not wrong, "\n\n".join(wrong)
