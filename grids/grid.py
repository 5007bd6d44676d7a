"""What to run: a `Grid` from one TOML file, and the trials it stands for.

`load` checks the file's shape. What only a task or a corpus can know (the task's options, whether the backbone exists,
whether a language has enough clips) is checked by them, before anything starts. `README.md` beside this file explains
every key.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from grids.errors import UserError, require
from grids.mixture import Mixture, Trial
from grids.resources import Resources, Tracking
from grids.schema import LATER, PLACE, check_table, from_table, read_toml
from grids.seeds import Seeds

SYNTHETIC = "synthetic"  # the corpus that `tasks.data.synthetic` makes
NO_BACKBONE = "none"  # in [model], for a task whose network starts from nothing
MOST_RUNS = 2_000  # W&B runs of a grid, unless it asks for more
Keep = Literal["predictions", "embeddings", "checkpoints"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]


@dataclass(frozen=True)
class Model:
    """The network a training starts from. What encoders do in silence is a setting here, off unless asked for.

    Attributes:
        backbone: a folder that `from_pretrained` reads, a hub name, or a built-in encoder ("tiny", "tiny-groupnorm").
            "none" for a task whose network starts from nothing.
        freeze_feature_encoder: the convolutions do not learn.
        spec_augment: mask spans of time as the backbone's configuration says.
        layerdrop: probability that a transformer layer is skipped in training.
    """

    backbone: str = field(default="utter-project/mHuBERT-147", metadata=PLACE)
    freeze_feature_encoder: bool = False
    spec_augment: bool = False
    layerdrop: float = 0.0

    def __post_init__(self) -> None:
        require(0 <= self.layerdrop < 1, f"layerdrop in [model] is {self.layerdrop}; allowed: 0 <= layerdrop < 1")


@dataclass(frozen=True)
class Train:
    """How a network is trained. A task states its own values; the grid's [train] overrides them.

    Attributes:
        learning_rate: of AdamW, the highest of the schedule.
        weight_decay: of AdamW, decoupled.
        epochs: passes over a stage's samples, when the budget is "epochs".
        budget: "epochs" (the paper's way: twice the data, twice the steps) or "steps" (the same for every mixture).
        steps: optimiser steps of every mixture, when the budget is "steps".
        batch_size: samples an optimiser step, over all workers.
        batch_seconds: audio of an optimiser step, padding included, over all workers: an epoch's samples are put
            together by length, in batches of at most so much (a longer sample is alone), and the batches are shuffled.
            A step then has as many samples as fit. 0: batches of `batch_size` in the order of the epoch.
        precision: "fp32" (no TF32, on a GPU either), "tf32" (a GPU rounds the factors of products and convolutions to
            TF32; on a CPU the same as "fp32"), "bf16" or "fp16" (autocast, with gradient scaling for fp16; what it
            leaves in 32 bits is not rounded to TF32). The kept outputs of a frozen part have the task's own precision.
        evaluation_precision: what networks are scored in, on test and on dev sets; "": as `precision`.
        gradient_clip: largest norm of the gradient; 0 switches clipping off.
        warmup: share of the steps in which the learning rate rises linearly from 0.
        schedule: after the warm-up the learning rate stays "constant", or falls "linear"-ly to 0.
        select_by: a metric of the task. The dev sets of the mixture's languages are scored after every epoch of the
            last stage; the best epoch is the result, the earlier one of equal ones. "": no validation, the last state.
        select_clips: largest dev set of a language, speaker by speaker; 0: the whole dev split.
    """

    learning_rate: float = 1e-5
    weight_decay: float = 0.0
    epochs: int = 1
    budget: Literal["epochs", "steps"] = "epochs"
    steps: int = 0
    batch_size: int = 1
    batch_seconds: float = 0.0
    precision: Precision = "fp32"
    evaluation_precision: Literal["", Precision] = field(default="", metadata=LATER)
    gradient_clip: float = 1.0
    warmup: float = 0.0
    schedule: Literal["constant", "linear"] = "constant"
    select_by: str = ""
    select_clips: int = 1000

    def __post_init__(self) -> None:
        require(self.learning_rate > 0, f"learning_rate in [train] is {self.learning_rate}; allowed: > 0")
        require(self.epochs >= 1, f"epochs in [train] is {self.epochs}; allowed: >= 1")
        require(self.batch_size >= 1, f"batch_size in [train] is {self.batch_size}; allowed: >= 1")
        require(self.batch_seconds >= 0, f"batch_seconds in [train] is {self.batch_seconds}; allowed: >= 0")
        require(self.weight_decay >= 0, f"weight_decay in [train] is {self.weight_decay}; allowed: >= 0")
        require(self.gradient_clip >= 0, f"gradient_clip in [train] is {self.gradient_clip}; allowed: >= 0")
        require(self.select_clips >= 0, f"select_clips in [train] is {self.select_clips}; allowed: >= 0")
        require(0 <= self.warmup < 1, f"warmup in [train] is {self.warmup}; allowed: 0 <= warmup < 1")
        if self.evaluation_precision == self.precision:
            object.__setattr__(self, "evaluation_precision", "")  # one way to say it, so that results are alike
        steps_fit = self.steps >= 1 if self.budget == "steps" else self.steps == 0
        require(steps_fit, f"steps in [train] is {self.steps}: it needs budget = 'steps' and a value >= 1")

    @property
    def scored_in(self) -> Precision:
        """The precision that networks are scored in."""
        return self.evaluation_precision or self.precision


@dataclass(frozen=True)
class Data:
    """Which clips of a corpus count, before any task looks at them.

    Attributes:
        max_train_clips: clips of a language's train split that are decoded, whole speakers in an order that depends
            on nothing but their names; 0: all.
        min_seconds: shorter clips are dropped.
        max_seconds: longer clips are dropped.
        max_broken_share: a language with a larger share of unreadable or truncated clips is refused.
        min_vote_margin: training clips whose votes for them exceed the votes against them by less are dropped; 0: none.
        min_snr_db: training clips whose estimated signal-to-noise ratio (`tasks.data.audio.snr_db`) is lower are
            dropped; 0: none. Test clips are the same under every rule of quality, so that scores can be compared.
    """

    max_train_clips: int = 20_000
    min_seconds: float = 0.5
    max_seconds: float = 30.0
    max_broken_share: float = 0.2
    min_vote_margin: int = 0
    min_snr_db: float = 0.0

    def __post_init__(self) -> None:
        require(self.max_train_clips >= 0, f"max_train_clips in [data] is {self.max_train_clips}; allowed: >= 0")
        ordered = 0 <= self.min_seconds < self.max_seconds
        require(ordered, f"[data] needs 0 <= min_seconds < max_seconds, got {self.min_seconds} and {self.max_seconds}")
        share = self.max_broken_share
        require(0 <= share <= 1, f"max_broken_share in [data] is {share}; allowed: 0 to 1")
        for name in ("min_vote_margin", "min_snr_db"):
            require(getattr(self, name) >= 0, f"{name} in [data] is {getattr(self, name)}; allowed: >= 0")


@dataclass(frozen=True)
class Grid:
    """One experiment: every mixture of `languages` x every seed, for one task and one model.

    Attributes:
        name: also of the results folder; if not given, the TOML file's name.
        task: a name in `tasks.TASKS`.
        corpus: "synthetic", or the folder of a release, the one that holds one folder a language.
        languages: the matrix's rows and columns, without the excluded ones.
        seeds: one draw of everything each; pairs may have fewer than bases and self runs.
        samples: N, samples of a block (of a class, where the task has classes). A curve has `sizes` instead.
        clips_per_speaker: clips that each speaker gives to a block.
        blocks: "per_seed" (a seed draws its blocks) or "fixed" (only the training varies).
        evaluate: languages scored beside those of the mixture: none ("mixture"), the grid's ("all"), or these.
        max_test_clips: largest test set a language; 0: the whole test split.
        exclude: languages left out before the run, with the reason that the report prints.
        keep: what trials leave behind beside their scores.
        mode: "matrix" trains what a transfer matrix needs, and `mixtures`; "list" trains `mixtures` alone; "curve"
            trains each language alone on nested blocks of each of `sizes`, to find an N for a matrix.
        sizes: samples of the blocks of a curve. An N can be judged if 2 N is there too. A finished curve may grow.
        mixtures: mixtures to train, e.g. "ca+0.1*en", "en>ca", "" (the untouched model).
        options: the task's own options, checked by its `Options`. (TOML cannot hold `task = ...` and a table [task].)
        model: the network to start from.
        train: the [train] table: what it overrides of the task's own `Train`.
        data: which clips count.
        resources: what a trial occupies.
        tracking: where trials are mirrored.
    """

    name: str
    task: str
    corpus: str
    languages: tuple[str, ...]
    seeds: Seeds
    samples: int = 0
    clips_per_speaker: int = 4
    blocks: Literal["per_seed", "fixed"] = "per_seed"
    evaluate: Literal["mixture", "all"] | tuple[str, ...] = "mixture"
    max_test_clips: int = 0
    exclude: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[Keep, ...] = ()
    mode: Literal["matrix", "list", "curve"] = "matrix"
    sizes: tuple[int, ...] = ()
    mixtures: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    model: Model = Model()
    train: Mapping[str, Any] = field(default_factory=dict)
    data: Data = Data()
    resources: Resources = field(default_factory=Resources)
    tracking: Tracking = field(default_factory=Tracking)

    def __post_init__(self) -> None:
        self._check_sizes()
        require(self.clips_per_speaker >= 1, f"clips_per_speaker is {self.clips_per_speaker}; allowed: >= 1")
        require(self.max_test_clips >= 0, f"max_test_clips is {self.max_test_clips}; allowed: >= 0")
        named = re.fullmatch(r"[\w][\w.-]*", self.name)
        require(named is not None, f"name is {self.name!r}; allowed: letters, digits, '_', '-' and '.'")
        require(len(self.languages) >= 1, "languages is empty (or everything in it is excluded)")
        for name in ("languages", "sizes", "mixtures", "keep"):
            values = getattr(self, name)
            twice = sorted({str(value) for value in values if values.count(value) > 1})
            require(not twice, f"{name} has {', '.join(twice)} more than once")
        require(self.mode != "list" or len(self.mixtures) > 0, "mode = 'list' needs mixtures = [...]")
        for text in self.mixtures:
            for code, count in Mixture.parse(text, self.samples).total_samples.items():
                whole = count % self.clips_per_speaker == 0
                require(whole, f"mixture {text!r} takes {count} samples of {code}, no multiple of clips_per_speaker")
        for code in self.all_languages():
            plain = code == code.strip() != "" and code.isprintable() and not {*code} & {*"+*>,"}
            require(plain, f"language {code!r} has no place in a mixture; allowed: any printable text without + * > ,")
        late = sorted(set(self.all_languages()) & set(self.exclude))
        require(not late, f"exclude names {', '.join(late)}, which mixtures or evaluate ask for")

    def _check_sizes(self) -> None:
        """A curve has sizes, everything else has samples; each is a whole number of speakers."""
        if self.mode == "curve":
            require(self.samples == 0, f"samples is {self.samples}: mode = 'curve' has sizes = [...] instead")
            require(len(self.sizes) > 0, "mode = 'curve' needs sizes = [...], e.g. [30, 60, 120, 240]")
            require(not self.mixtures, "mode = 'curve' takes no mixtures; use another grid for them")
        else:
            require(not self.sizes, f"sizes needs mode = 'curve', mode is {self.mode!r}")
            require(self.samples >= 1, f"samples is {self.samples}; allowed: >= 1 (a grid that is no curve needs it)")
        for name, size in [("samples", self.samples), *(("an item of sizes", size) for size in self.sizes)]:
            require(size >= 1 or name == "samples", f"{name} is {size}; allowed: >= 1")
            whole = size % self.clips_per_speaker == 0
            require(whole, f"{name} is {size}, no multiple of clips_per_speaker = {self.clips_per_speaker}")

    @property
    def results(self) -> Path:
        """The results folder, unless the command line names another."""
        return Path("results", self.name)

    @property
    def project(self) -> str:
        """The W&B project."""
        return self.tracking.project or "cltm-" + self.task.replace("/", "-")

    @property
    def group(self) -> str:
        """The W&B group: task and backbone, if there is one."""
        backbone = self.model.backbone
        return self.task if backbone == NO_BACKBONE else f"{self.task}/{Path(backbone).name}"

    @cached_property
    def granularity(self) -> Literal["run", "row", "grid"]:
        """What one W&B run stands for: a trial, a target, or everything."""
        if self.tracking.granularity != "auto":
            return self.tracking.granularity
        return "run" if len(self.trials()) <= MOST_RUNS else "row"

    def matrix_mixtures(self) -> tuple[Mixture, ...]:
        """The mixtures that a matrix needs, denominators first: all bases, all selves, then every unordered pair."""
        size, codes = self.samples, sorted(self.languages)
        base = [Mixture.of({code: size}) for code in codes]
        double = [Mixture.of({code: 2 * size}) for code in codes]
        pairs = [Mixture.of({one: size, other: size}) for one, other in combinations(codes, 2)]
        return tuple(base + double + pairs)

    def curve_mixtures(self) -> tuple[Mixture, ...]:
        """The mixtures of a learning curve: every language alone, small blocks first. Blocks of a seed are nested."""
        return tuple(Mixture.of({code: size}) for size in sorted(self.sizes) for code in sorted(self.languages))

    def trials(self) -> tuple[Trial, ...]:
        """Every trial of the grid once, in the order to run them in. What `mixtures` names has all seeds."""
        own = {"matrix": self.matrix_mixtures, "curve": self.curve_mixtures, "list": tuple[Mixture, ...]}
        seeds = {mixture: self.seeds.of(mixture.kind(self.samples)) for mixture in own[self.mode]()}
        seeds |= dict.fromkeys((Mixture.parse(text, self.samples) for text in self.mixtures), self.seeds.all)
        return tuple(Trial(mixture, seed) for mixture, some in seeds.items() for seed in some)

    def evaluated(self, mixture: Mixture) -> tuple[str, ...]:
        """The languages that a trial of this mixture is scored on, sorted."""
        extra = self.languages if self.evaluate == "all" or not mixture.stages else self.evaluate
        return tuple(sorted({*mixture.languages, *(extra if not isinstance(extra, str) else ())}))

    def all_languages(self) -> tuple[str, ...]:
        """Every language that some trial is trained or scored on, sorted."""
        extra = () if isinstance(self.evaluate, str) else self.evaluate
        further = [code for text in self.mixtures for code in Mixture.parse(text, self.samples).languages]
        return tuple(sorted({*self.languages, *extra, *further}))


def load(path: str | Path) -> Grid:
    """Reads a grid file.

    Args:
        path: the TOML file; its stem is the grid's name.

    Raises:
        UserError: no such file, no TOML, an unknown key, a wrong type, a value out of range.
    """
    path = Path(path)
    try:
        return read_toml(path, "grid file", lambda table: parse(table, name=path.stem))
    except UserError as error:
        if "Cannot overwrite" not in str(error) or "\n[task]" not in path.read_text(encoding="utf-8"):
            raise
        hint = "the task's options are the table [options], since TOML cannot hold 'task = ...' and [task]"
        raise UserError(f"{error}; {hint}") from None


def parse(table: Mapping[str, Any], name: str) -> Grid:
    """Checks what tomllib read and returns the grid.

    Args:
        table: the keys of a grid file; `Seeds.parse` says what `seeds` may be.
        name: the grid's name, unless the table has one.

    Raises:
        UserError: as `load`, without the file's name.
    """
    values = dict(table)
    if "seeds" in values:
        values["seeds"] = Seeds.parse(values["seeds"])
    languages, excluded = values.get("languages"), values.get("exclude", {})
    if isinstance(languages, list) and isinstance(excluded, dict):
        for code in excluded:
            require(code in languages, f"exclude names {code!r}, which languages does not list; list it there too")
        values["languages"] = [code for code in languages if code not in [*excluded]]
    grid = from_table(Grid, {"name": name, **values})
    return replace(grid, train=check_table(Train, grid.train, "[train]"))
