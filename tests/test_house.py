"""Rules of the house that would otherwise be prose."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("grids", "tasks", "engine", "analysis", "cluster")
# Who may import whom. A name with a dot allows that module alone.
ALLOWED = {
    "grids": set(),
    "tasks": {"grids"},
    "engine": {"grids", "tasks"},
    "analysis": {"grids", "engine.store", "engine.offline"},
    "cluster": {"grids", "engine.mps", "engine.store", "tasks.data.collective"},
}
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
DOCS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *(p for k in PACKAGES for p in (ROOT / k).rglob("*.md"))]
)


def imported(path: Path) -> set[str]:
    """The modules of this project that a file imports, anywhere in it."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name for name in names if name.split(".")[0] in PACKAGES}


def test_the_picture_of_the_house_is_as_the_code_is() -> None:
    from tests.architecture import PAGE, picture

    assert picture() in PAGE.read_text(encoding="utf-8"), "run python -m tests.architecture"


def test_the_walk_sees_the_house() -> None:
    assert len(SOURCES) > 40
    assert len(DOCS) >= 2


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        own = name.split(".")[0] == package
        allowed = any(name == other or name.startswith(other + ".") for other in ALLOWED[package])
        assert own or allowed, f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("engine.store", {"ray", "torch"}),
        ("engine.__main__", {"ray", "torch", "wandb", "pandas"}),
        ("analysis.cltm", {"ray", "torch", "transformers", "matplotlib", "pandas"}),
        ("analysis.interval", {"ray", "torch", "transformers", "matplotlib", "pandas", "scipy"}),
        ("analysis.geometry", {"ray", "torch", "transformers", "matplotlib", "pandas", "scipy"}),
        ("analysis.verify", {"ray", "torch", "transformers", "matplotlib", "pandas", "scipy"}),
        ("tasks.data.__main__", {"ray", "torch", "transformers"}),
        ("tasks.data.synthetic", {"ray", "torch"}),
        ("engine.train", {"ray", "wandb"}),
    ],
)
def test_light_modules_stay_light(module: str, never: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert not never & set(loaded.split())


def test_grids_need_the_standard_library_alone() -> None:
    for path in (ROOT / "grids").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                top = node.module.split(".")[0]
                assert top == "grids" or top in sys.stdlib_module_names, f"{path.name} imports {top}"


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_exist(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_functions_and_files_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{node.name}: {length} lines"
