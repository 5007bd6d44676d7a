"""The page in a real browser: sorting and pointing work, nothing fails, nothing is asked of a network."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis.cltm import main
from tests.analysis.test_report_structure import folder_of

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-logging=stderr")  # fmt: skip
REQUEST = re.compile(r"""(src|href|srcset|action|data)\s*=\s*["']?\s*(https?:)?//|@import|url\(\s*["']?(https?:)?//""")
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


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_sorting_and_pointing_work_without_an_error_or_a_request(tmp_path):
    folder = folder_of(tmp_path / "r")
    assert main([str(folder)]) == 0
    page = (folder / "analysis" / "report.html").read_text(encoding="utf-8")
    assert not REQUEST.search(page)
    acted = tmp_path / "acted.html"
    acted.write_text(page.replace("<title>", f"{CATCH}<title>").replace("</body>", ACT), encoding="utf-8")
    dom, log = _opened(acted, tmp_path / "profile")
    assert "CONSOLE" not in log
    assert "<title>failed" not in dom
    descending, ascending, tip = re.search(r'<pre id="said">(.*?)</pre>', dom, re.DOTALL).group(1).split("|")
    for said, word, reverse in ((descending, "descending", True), (ascending, "ascending", False)):
        order, *texts = said.split()
        values = [float(text.replace("\N{MINUS SIGN}", "-")) for text in texts]
        assert order == word
        assert len(values) == 6
        assert values == sorted(values, reverse=reverse)
    assert "target de, donor nl: r = " in tip
    assert "(q = " in tip


def _opened(page: Path, profile: Path) -> tuple[str, str]:
    """The page after its scripts ran, and what the browser logged."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout, done.stderr
