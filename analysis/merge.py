"""Whether several results folders hold parts of one experiment (further seeds, further languages), and what they hold.

They may overlap: a trial that two folders hold must have the same scores in both.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.scores import Plan
from engine.store import Identity, Store
from grids.errors import UserError
from grids.seeds import Seeds

if TYPE_CHECKING:
    import pandas as pd

SAME = ("task", "samples", "matrix", "curve")  # of the grids of one experiment
SCORE = ["trial", "language", "metric", "condition"]


def check_one_experiment(folders: Sequence[Path], plans: Sequence[Plan]) -> None:
    """Refuses folders whose grids, configurations or data differ.

    Raises:
        UserError: says what differs between which two folders.
    """
    first, *others = zip(folders, plans, [Store(folder).identity() for folder in folders], strict=True)
    for other in others:
        both = f"{str(first[0])!r} and {str(other[0])!r} are no one experiment"
        for name in SAME:
            one, two = getattr(first[1], name), getattr(other[1], name)
            if one != two:
                raise UserError(f"{both}: {name} is {one!r} in the first and {two!r} in the second")
        excluded = sorted({e.language for e in other[1].exclude} & {*first[1].languages})
        excluded += sorted({e.language for e in first[1].exclude} & {*other[1].languages})
        if excluded:
            raise UserError(f"{both}: {', '.join(excluded)} is a language of one and excluded by the other")
        _same_identity(both, first[2], other[2])


def merged_plan(plans: Sequence[Plan]) -> Plan:
    """The plan that holds every language, seed and exclusion of plans that belong together."""
    first = plans[0]
    return replace(
        first,
        name=" + ".join(dict.fromkeys(plan.name for plan in plans)),
        languages=tuple(dict.fromkeys(chain.from_iterable(plan.languages for plan in plans))),
        sizes=tuple(sorted({*chain.from_iterable(plan.sizes for plan in plans)})),
        draws=reduce(Seeds.joined, (plan.draws for plan in plans)),
        exclude=tuple(dict.fromkeys(chain.from_iterable(plan.exclude for plan in plans))),
    )


def one_row_a_score(frame: "pd.DataFrame", identified: bool) -> "pd.DataFrame":
    """Rows of several folders without what they repeat of each other; what repeats inside one folder stays.

    Args:
        frame: the rows, with a column `folder`.
        identified: every folder has an identity, so that their data were compared.

    Raises:
        UserError: a trial has another score in another folder, or the folders have other configurations or data.
    """
    if "config_sha" in frame and frame["config_sha"].nunique() > 1:
        found = sorted({f"{folder!r} {sha}" for folder, sha in zip(frame["folder"], frame["config_sha"], strict=True)})
        raise UserError(f"the folders hold results of other configurations (config_sha): {'; '.join(found)}")
    if not identified and {"mixture", "data_sha"} <= {*frame}:
        shas = frame.groupby(["mixture", "language"])["data_sha"].nunique()
        if (shas > 1).any():
            mixture = shas[shas > 1].reset_index()["mixture"].iloc[0]
            raise UserError(f"the folders hold results of other data: data_sha of {mixture!r} differs")
    values = frame.groupby(SCORE)["value"]
    differing = frame[values.transform("min") != values.transform("max")]
    differing = differing[differing.groupby(SCORE)["folder"].transform("nunique") > 1]
    if len(differing):
        row = differing.iloc[0]
        same = differing[(differing[SCORE] == row[SCORE]).all(axis=1)]
        values_there = ", ".join(f"{v:g} in {f!r}" for f, v in zip(same["folder"], same["value"], strict=True))
        raise UserError(f"trial {row['trial']!r} has other scores in other folders: {row['metric']} of "
                        f"{row['language']!r} is {values_there}; they are no one experiment")  # fmt: skip
    first_folder = frame.groupby(SCORE)["folder"].transform("first")
    return frame[frame["folder"] == first_folder]


def _same_identity(both: str, one: Identity | None, other: Identity | None) -> None:
    """Compares configurations, and the data of the languages that both know."""
    if one is None or other is None:
        return
    for key in sorted({*one.config, *other.config}):
        values = one.config.get(key), other.config.get(key)
        if values[0] != values[1]:
            raise UserError(f"{both}: {key} is {values[0]!r} in the first and {values[1]!r} in the second")
    changed = sorted(c for c in {*one.data} & {*other.data} if one.data[c] != other.data[c])
    if changed:
        raise UserError(f"{both}: the prepared clips of {', '.join(changed)} differ")
