"""A page with figures and tables, for the commands beside the main report: one HTML file that needs nothing else."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.scores import Provenance
from grids.files import write_atomically

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "page.html"
DASH = "\N{EN DASH}"


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: its heading.
        text: a paragraph, or "".
        figure: an SVG file to hold inside the page.
        header: column names of a table, or nothing.
        rows: its cells, as people read them.
        texts: the columns that are text, aligned left.
    """

    title: str
    text: str = ""
    figure: Path | None = None
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    texts: tuple[int, ...] = (0,)

    @property
    def image(self) -> str:
        """The figure as a data URI; an image of its own, so that names inside several figures don't meet."""
        content = self.figure.read_bytes() if self.figure else b""
        return "data:image/svg+xml;base64," + base64.b64encode(content).decode()


@dataclass(frozen=True)
class Page:
    """A page: title, first paragraphs, warnings, sections, and what it was computed from."""

    title: str
    lead: tuple[str, ...]
    notes: tuple[str, ...]
    sections: tuple[Section, ...]
    foot: str


def write_page(page: Page, path: Path) -> Path:
    """Writes the page and returns its path."""
    write_atomically(path, template(TEMPLATE).render(page=page, title=page.title))
    return path


def template(name: str) -> "Template":
    """A template of this package. All text is escaped; numbers have the filter `number`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["number"] = number
    return environment.get_template(name)


def number(value: float | None, digits: int = 3) -> str:
    """A number with a real minus sign; a dash where it is not known."""
    if value is None or not np.isfinite(value):
        return DASH
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed(text: str) -> str:
    """Numbers in a text with real minus signs."""
    return re.sub(r"(?<![\w)])-(?=\d)", "\N{MINUS SIGN}", text)


def computed_from(provenance: Provenance) -> str:
    """The sentence that names files and hashes."""
    files = ", ".join(f"{part.source} (SHA-256 {part.sha256[:16]}…)" for part in provenance.parts)
    configurations = ", ".join(provenance.config_sha)
    return f"Computed from {files}" + (f"; configuration {configurations}." if configurations else ".")
