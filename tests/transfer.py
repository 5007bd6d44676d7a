"""Small experiments on transfer in speech recognition, on the synthetic corpus with the tiny encoder.

    python -m tests.transfer FOLDER          # all of them
    python -m tests.transfer FOLDER noise    # one of `EXPERIMENTS`

Each prints a table of character error rates, three seeds, 95 % intervals over seeds, and draws a figure. No Ray, on
one core; what is finished is not done again.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from engine.store import Store
from grids.errors import one_line_errors
from tests.experiments import OFF, Interval, Lines, draw, markdown, run, scores

GRIDS = Path(__file__).parents[1] / "grids"
MIXTURES = ("es", "0.2*eu", "es>0.2*eu", "es>0.1*es+0.2*eu", "es+0.2*eu")
PARTS = {"head alone": 'learn = "head"', "adapters": 'learn = "adapters"\nrank = 4', "everything": 'learn = "all"'}
RATIOS = ("", "noise 20 dB", "noise 10 dB", "noise 5 dB", "noise 0 dB")


def grid_text(language: str, options: str, model: str, epochs: int, *, samples: int = 400, seeds: int = 3) -> str:
    """A grid file: a language alone."""
    return f"""
task = "asr/ctc"
corpus = "synthetic"
languages = ["{language}"]
seeds = {seeds}
samples = {samples}
clips_per_speaker = 10
max_test_clips = 160
mode = "list"
mixtures = ["{language}"]
keep = ["checkpoints"]
[model]
{model}
[train]
learning_rate = 6e-3
epochs = {epochs}
batch_size = 8
warmup = 0.1
schedule = "linear"
[options]
unit = "character"
{options}
{OFF}"""


@dataclass(frozen=True)
class Found:
    """What an experiment found at each place of the figure: what is drawn, and what stands in the table beside it."""

    places: Sequence[str]
    drawn: Lines
    beside: Lines = field(default_factory=dict)


def mix(folder: Path) -> Found:
    """The grid demo_asr_xlsr.toml as it stands: does some of the source keep it from being forgotten?"""
    text = (GRIDS / "demo_asr_xlsr.toml").read_text(encoding="utf-8")
    found = scores(run(folder / "mix.toml", text + OFF), "cer")
    drawn = {f"on {code}": [Interval.of(found[name, code, ""]) for name in MIXTURES] for code in ("es", "eu")}
    forgotten = [Interval.of(found[name, "es", ""] - found["es", "es", ""]) for name in MIXTURES]  # paired by seed
    return Found(MIXTURES, drawn, {"on es, less that of `es`": forgotten})


def noise(folder: Path) -> Found:
    """Trained clean or in noise of 0 to 20 dB, of any colour; scored clean and in white noise."""
    lines = {}
    for name, options in (("clean", ""), ("in noise", "[options.augmentation]\nnoise_db = [0, 20]")):
        text = grid_text("ca", f"test_noise_db = [20, 10, 5, 0]\n{options}", 'backbone = "tiny"', epochs=12)
        found = scores(run(folder / f"trained_{name.replace(' ', '_')}.toml", text), "cer")
        lines[f"trained {name}"] = [Interval.of(found["ca", "ca", ratio]) for ratio in RATIOS]
    return Found([ratio.removeprefix("noise ") or "clean" for ratio in RATIOS], lines)


def parts(folder: Path) -> Found:
    """A recogniser of Spanish learns Basque: with all of it, few parameters, or a head alone."""
    source = run(folder / "source.toml", grid_text("es", "", 'backbone = "tiny"', epochs=12, seeds=1))
    (backbone,) = (path for path in (source / "checkpoints").iterdir() if path.is_dir())
    lines, shares = dict[str, list[Interval]](), dict[str, float]()
    for clips, epochs in ((80, 12), (400, 6)):
        for name, options in PARTS.items():
            text = grid_text("eu", options, f'backbone = "{backbone}"', epochs=epochs, samples=clips)
            results = run(folder / f"{name.replace(' ', '_')}_{clips}.toml", text)
            shares[name] = next(iter(Store(results).results())).passes[-1].trained_share
            lines.setdefault(f"{clips} clips", []).append(Interval.of(scores(results, "cer")["eu", "eu", ""]))
    return Found([f"{name}, {round(100 * share, 1):g} %" for name, share in shares.items()], lines)


EXPERIMENTS: dict[str, Callable[[Path], Found]] = {"mix": mix, "parts": parts, "noise": noise}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.transfer", description="Small experiments on transfer.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", choices=[*EXPERIMENTS, []], metavar="NAME", help=", ".join(EXPERIMENTS))
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in asked.names or EXPERIMENTS:
        found = EXPERIMENTS[name](asked.folder.resolve())
        draw(asked.folder / f"{name}.png", "character error rate, %", found.places, found.drawn, joined=name == "noise")
        sys.stdout.write(f"\n{name}\n\n{markdown('', found.places, {**found.drawn, **found.beside})}")
    return 0


if __name__ == "__main__":
    sys.exit(one_line_errors(main))
