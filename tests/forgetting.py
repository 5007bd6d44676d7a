"""A small experiment on forgetting, on the synthetic corpus: does a penalty trade gain for what is not forgotten?

    python -m tests.forgetting FOLDER

A tiny Whisper learns to translate Catalan into English; that model is then fine-tuned into Chinese, plainly, with L2 to
its start, with elastic weight consolidation, and with rehearsal, three seeds each. It ends with the figure of
`analysis.forgetting`. Without Ray, on one core.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from analysis import forgetting
from grids.files import write_atomically
from tasks.backbones import resolve
from tasks.translation import fisher
from tests.experiments import run

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "l2_10": {"kind": "l2", "strength": 10.0},
    "l2_30": {"kind": "l2", "strength": 30.0},
    "l2_100": {"kind": "l2", "strength": 100.0},
    "ewc_10000": {"kind": "ewc", "strength": 1e4},
    "ewc_100000": {"kind": "ewc", "strength": 1e5},
    "ewc_1000000": {"kind": "ewc", "strength": 1e6},
    "rehearse_0.3": {"rehearse": 0.3},
}


def grid_text(backbone: str, options: str, mixtures: str, seeds: int, epochs: int, keep: str) -> str:
    """A grid file: 240 clips of Catalan."""
    return f"""
task = "translation"
corpus = "synthetic"
languages = ["ca"]
seeds = {seeds}
samples = 240
max_test_clips = 100
mode = "list"
mixtures = {mixtures}
keep = {keep}
[options]
max_tokens = 50
{options}
[model]
backbone = "{backbone}"
[train]
learning_rate = 3e-3
epochs = {epochs}
batch_size = 16
warmup = 0.1
schedule = "linear"
[tracking]
wandb = "off"
"""


def pretrained(folder: Path) -> Path:
    """A tiny Whisper that has learnt to translate Catalan into English, as a folder."""
    results = run(folder / "pretrain.toml", grid_text("tiny-whisper", 'to = "en"', '["ca"]', 1, 20, '["checkpoints"]'))
    (checkpoint,) = (results / "checkpoints").glob("*.safetensors")
    place = folder / "model"
    shutil.copytree(resolve("tiny-whisper"), place, dirs_exist_ok=True)
    shutil.copy(checkpoint, place / "model.safetensors")
    return place


def main(folder: Path) -> int:
    """The experiment; what is finished is not done again."""
    torch.set_num_threads(1)
    model, information = pretrained(folder), folder / "fisher.safetensors"
    results = []
    for name, setting in SETTINGS.items():
        options = 'to = "zh"\nalso = ["en"]\n' + (
            f"rehearse = {setting['rehearse']}\n" if "rehearse" in setting else ""
        )
        if "kind" in setting:
            path = f'fisher = "{information}"' if setting["kind"] == "ewc" else ""
            options += f'[options.regularise]\nkind = "{setting["kind"]}"\nstrength = {setting["strength"]}\n{path}\n'
        text = grid_text(str(model), options, '["", "ca"]', 3, 6, "[]")
        if not information.exists():
            write_atomically(folder / "plain.toml", text)
            fisher.main([str(folder / "plain.toml"), "--out", str(information), "--clips", "60"])
        results.append(str(run(folder / f"{name}.toml", text)))
    return forgetting.main([*results, "--metric", "chrf", "--out", str(folder / "figure")])


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]).resolve()))
