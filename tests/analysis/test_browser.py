"""Every page in a real browser: sorting and pointing work, nothing fails, nothing is asked of a network.

All of the browser's traffic goes through a proxy that a test listens on and that answers nothing.
"""

import re
import shutil
import socket
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from analysis import cltm, compare, geometry, interval
from tests.analysis.factories import truth
from tests.analysis.test_geometry import kept
from tests.analysis.test_interval import curve_folder, curve_rows, mean
from tests.analysis.test_raw import raw_folder
from tests.analysis.test_report_structure import folder_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-logging=stderr", "--proxy-bypass-list=<-loopback>")  # fmt: skip
OWN = {
    "clients2.google.com",
    "update.googleapis.com",
    "accounts.google.com",
    "optimizationguide-pa.googleapis.com",
    "android.clients.google.com",
    "safebrowsingohttpgateway.googleapis.com",
}  # the browser's; none serves a page's parts
PAGES = ("analysis/report.html", "raw/report.html", "interval/interval.html", "geometry/geometry.html",
         "compare/compare.html")  # fmt: skip
CATCH = '<script>addEventListener("error", event => { document.title = "failed: " + event.message; });</script>'
ACT = """<script>
  const column = name => {
    const head = [...document.querySelectorAll("th.sortable")].find(one => one.textContent === name);
    const rows = () => [...head.closest("table").tBodies[0].rows].map(row => row.cells[head.cellIndex].textContent);
    head.click();
    const first = [head.getAttribute("aria-sort"), ...rows()].join(" ");
    head.click();
    return first + "|" + [head.getAttribute("aria-sort"), ...rows()].join(" ");
  };
  const cell = document.querySelector("#matrix td:nth-of-type(2)");
  cell.dispatchEvent(new MouseEvent("mousemove", {bubbles: true, clientX: 5, clientY: 5}));
  const said = document.createElement("pre");
  said.textContent = column("As donor") + "|" + document.getElementById("tip").textContent;
  said.id = "said";
  document.body.append(said);
</script></body>"""
SORT_ALL = """<script>
  const said = document.createElement("pre");
  for (const table of document.querySelectorAll("table.list")) {
    const head = table.querySelector("th.sortable:last-of-type");
    if (!head) continue;
    const names = () => [...table.tBodies[0].rows].map(row => row.textContent.replace(/[\\s|]+/g, "")).join(" ");
    const before = names();
    head.click();
    said.textContent += before + "|" + names() + "|" + Boolean(head.getAttribute("aria-sort")) + "\\n";
  }
  said.id = "said";
  document.body.append(said);
</script></body>"""


@dataclass
class Watcher:
    """A proxy that notes which hosts are asked for and answers nothing."""

    hosts: list[str] = field(default_factory=list)
    server: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def listen(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:  # closed at the end of the test
                return
            with connection:
                connection.settimeout(5)
                _, address, *_ = connection.recv(4096).decode("latin-1").split(" ")
                self.hosts.append(urlsplit(address if "//" in address else f"//{address}").hostname or "")

    @property
    def asked(self) -> list[str]:
        """Hosts that the browser does not ask of its own accord."""
        return [host for host in self.hosts if host not in OWN]


@pytest.fixture
def watcher():
    watcher = Watcher()
    thread = threading.Thread(target=watcher.listen, daemon=True)
    thread.start()
    yield watcher
    watcher.server.shutdown(socket.SHUT_RDWR)
    watcher.server.close()
    thread.join(5)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A folder with every kind of page."""
    out = tmp_path_factory.mktemp("pages")
    results = folder_of(out / "results")
    raw, curve = raw_folder(out / "scores", truth(4)), curve_folder(out / "curve", curve_rows(mean))
    embedded, other = kept(out / "embedded", evaluate_all=True)[0], folder_of(out / "other", seeds=5)
    for command, sources, name in (
        (cltm, [results], "analysis"),
        (cltm, [raw], "raw"),
        (interval, [curve], "interval"),
        (geometry, [embedded], "geometry"),
        (compare, [results, other], "compare"),
    ):
        assert command.main([*map(str, sources), "--out", str(out / name)]) == 0
    return out


def opened(page: Path, profile: Path, watcher: Watcher) -> tuple[str, str]:
    """The page after its scripts ran, and what the browser logged."""
    proxy = f"--proxy-server=http://127.0.0.1:{watcher.server.getsockname()[1]}"
    command = [str(CHROMIUM), *FLAGS, proxy, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, done.stderr


def acted(page: Path, act: str, folder: Path) -> Path:
    """The page with a script that acts like a user, and a title that tells an error."""
    html = page.read_text(encoding="utf-8")
    changed = folder / "acted.html"
    changed.write_text(html.replace("<title>", f"{CATCH}<title>").replace("</body>", act), encoding="utf-8")
    return changed


def said(dom: str) -> str:
    """What the acting script wrote."""
    return re.search(r'<pre id="said">(.*?)</pre>', dom, re.DOTALL).group(1)


def test_the_watcher_sees_a_page_that_asks_for_something(tmp_path, watcher):
    page = tmp_path / "asks.html"
    page.write_text('<img src="http://watched.test/x.png"><script>undefinedName()</script>')
    _, log = opened(page, tmp_path / "profile", watcher)
    assert watcher.asked == ["watched.test"]
    assert "CONSOLE" in log


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_asks_for_nothing_fails_nowhere_and_its_tables_sort(pages, tmp_path, watcher, page):
    dom, log = opened(acted(pages / page, SORT_ALL, tmp_path), tmp_path / "profile", watcher)
    assert watcher.asked == []
    assert "CONSOLE" not in log
    assert "<title>failed" not in dom
    tables = [
        line.split("|") for line in re.search(r'<pre id="said">(.*?)</pre>', dom, re.DOTALL).group(1).splitlines()
    ]
    assert tables
    for before, after, sorts in tables:
        assert sorted(before.split()) == sorted(after.split())
        assert sorts == "true"


def test_sorting_and_pointing_say_what_they_should(pages, tmp_path, watcher):
    dom, _ = opened(acted(pages / PAGES[0], ACT, tmp_path), tmp_path / "profile", watcher)
    descending, ascending, tip = said(dom).split("|")
    for column, word, reverse in ((descending, "descending", True), (ascending, "ascending", False)):
        order, *texts = column.split()
        values = [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]
        assert order == word
        assert len(values) == 6
        assert values == sorted(values, reverse=reverse)
    assert "target de, donor nl: r = " in tip
    assert re.search(r"95 % \[\S+, \S+\]", tip)
    assert "6 seeds" in tip
    assert "(q = " in tip
