"""The picture in docs/architecture.md, drawn from the imports: `python -m tests.architecture` writes it anew."""

import re
from collections import Counter
from pathlib import Path

from tests.test_house import PACKAGES, ROOT, SOURCES, imported

PAGE = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"```mermaid\n.*?```", re.DOTALL)
OWN_NODES = ("tasks.asr", "tasks.data", "tasks.speaker", "tasks.translation")  # large enough to be seen


def picture() -> str:
    """A Mermaid flow chart: an arrow from who imports to what is imported, with the number of modules that do."""
    edges = Counter[tuple[str, str]]()
    for path in SOURCES:
        own = _node(".".join(path.relative_to(ROOT).with_suffix("").parts))
        edges.update({(own, other) for name in imported(path) if (other := _node(name)) != own})
    nodes = [*PACKAGES, *OWN_NODES]
    lines = [f"    {_name(node)}[{node}/]" for node in (name.replace(".", "/") for name in nodes)]
    lines += [f"    {_name(a)} -->|{count}| {_name(b)}" for (a, b), count in sorted(edges.items())]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"])


def _node(module: str) -> str:
    """The part of the house that a module is in."""
    for node in OWN_NODES:
        if module == node or module.startswith(node + "."):
            return node
    return module.split(".")[0]


def _name(node: str) -> str:
    """A name that Mermaid takes."""
    return re.sub(r"\W", "_", node)


def main(page: Path = PAGE) -> None:
    """Puts the picture into the page."""
    page.write_text(BLOCK.sub(lambda match: picture(), page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
