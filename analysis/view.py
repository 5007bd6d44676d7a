"""Which languages figures and tables show, and in which order; the statistics stay those of the whole matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.palette import family_order
from analysis.scores import Exclusion
from grids.errors import UserError, unknown

if TYPE_CHECKING:
    from analysis.clusters import Tree

ORDERS = ("family", "name", "grid", "cluster")
FEWEST = 2


@dataclass(frozen=True, eq=False)
class View:
    """What of a matrix is shown.

    Attributes:
        positions: of the languages shown, in their order.
        total: languages of the matrix.
        order: one of `ORDERS`; families stand together in "family".
        tree: what "cluster" goes by; None in the other orders.
    """

    positions: tuple[int, ...]
    total: int
    order: str = "family"
    tree: "Tree | None" = None

    @property
    def note(self) -> str:
        """A sentence where not everything is shown, else ""."""
        shown = len(self.positions)
        return f"{shown} of {self.total} languages shown; statistics are of all {self.total}" * (shown < self.total)


def chosen(
    languages: Sequence[str], asked: Sequence[str] | None = None, exclude: Sequence[Exclusion] = ()
) -> tuple[int, ...]:
    """The positions of the languages asked for; without any, of all.

    Args:
        languages: the matrix's codes.
        asked: codes; one that is there twice counts once.
        exclude: languages that the grid left out.

    Raises:
        UserError: a language is unknown or was left out, or fewer than two are asked for.
    """
    if asked is None:
        return tuple(range(len(languages)))
    reasons = {one.language: one.reason for one in exclude}
    for code in asked:
        if code in reasons:
            raise UserError(f"language {code!r} is excluded by the grid: {reasons[code]}")
        if code not in languages:
            raise unknown("language", code, languages)
    if len({*asked}) < FEWEST:
        raise UserError(f"{len({*asked})} language to show ({', '.join(asked)}); at least {FEWEST} are needed")
    return tuple(i for i, code in enumerate(languages) if code in asked)


def view(
    languages: Sequence[str],
    families: Sequence[str],
    order: str = "family",
    shown: Sequence[int] | None = None,
    tree: "Tree | None" = None,
) -> View:
    """Puts languages in order.

    Args:
        languages: L codes, as in the source.
        families: L labels, "" if unknown.
        order: one of `ORDERS`.
        shown: positions to show; all by default.
        tree: for the order "cluster".

    Raises:
        UserError: "cluster" is asked for and there is no tree.
    """
    if order == "cluster" and (tree is None or tree.linkage is None):
        why = f": {tree.reason}" if tree else ""
        raise UserError(f"--order cluster is not possible{why}; allowed here: {', '.join(ORDERS[:-1])}")
    orders = all_orders(languages, families, {"cluster": tree} if tree else {})
    kept = set(range(len(languages)) if shown is None else shown)
    positions = tuple(i for i in orders[order] if i in kept)
    return View(positions, len(languages), order, tree if order == "cluster" else None)


def all_orders(
    languages: Sequence[str], families: Sequence[str], trees: "Mapping[str, Tree]"
) -> dict[str, tuple[int, ...]]:
    """Every position in each order: by family, by name, as in the source, and by each tree that there is."""
    return {
        "family": family_order(families),
        "name": tuple(sorted(range(len(languages)), key=lambda i: (languages[i].casefold(), languages[i]))),
        "grid": tuple(range(len(languages))),
        **{name: tree.order for name, tree in trees.items() if tree.linkage is not None},
    }
