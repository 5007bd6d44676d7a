"""The page's matrix in a real browser: other orders, a filter, pointing and arrow keys after them."""

import json
import subprocess
from html import unescape

import pytest

from analysis.cltm import compute, parser
from analysis.report import ORDER_WORDS, render
from analysis.view import all_orders
from tests.analysis.test_browser import CHROMIUM, FLAGS, acted, said
from tests.analysis.test_plots import random_matrix

N = 24  # beyond 20 the page lays rows out on its own
ACT = """<script>
  const state = () => ({
    rows: [...body.rows].map(row => row.cells[0].textContent),
    columns: [...head.cells].slice(1).map(one => one.textContent),
    wrong: [...body.rows].flatMap(row => [...row.cells].slice(1).filter((cell, k) => {
      const [target, donor] = [row.cells[0].textContent, head.cells[k + 1].textContent];
      const start = target === donor ? `${target}: own data` : `target ${target}, donor ${donor}:`;
      return !cell.dataset.tip.startsWith(start);
    })).length,
  });
  const found = {};
  const hidden = document.getElementById("controls").hidden;
  for (const option of order.options) {
    option.selected = true;
    order.dispatchEvent(new Event("change"));
    found[option.textContent] = state();
  }
  filter.value = "l3 , Turkic";
  filter.dispatchEvent(new Event("input"));
  const few = {...state(), said: document.getElementById("count").textContent};
  const press = key => table.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  ["ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp"].forEach(press);
  const at = [tip.textContent, ...marked.map(one => one.textContent)];
  press("Escape");
  filter.value = "";
  filter.dispatchEvent(new Event("input"));
  const out = document.createElement("pre");
  out.id = "said";
  out.textContent = JSON.stringify({found, few, at, gone: tip.style.display, back: state().rows.length, hidden});
  document.body.append(out);
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_orders_and_filter_move_rows_columns_and_cells_together(tmp_path):
    random_matrix(tmp_path, N)
    found = compute(parser().parse_args([str(tmp_path / "m.csv"), "--families", str(tmp_path / "f.csv")]))
    cltm = found.cltm
    page = tmp_path / "report.html"
    page.write_text(render(found), encoding="utf-8")
    done = json.loads(unescape(said(_opened(acted(page, ACT, tmp_path), tmp_path / "profile"))))
    orders = all_orders(cltm.languages, cltm.families, {one.by: one for one in found.findings.trees})
    assert {ORDER_WORDS[name] for name in orders} == done["found"].keys()
    for name, order in orders.items():
        shown = done["found"][ORDER_WORDS[name]]
        assert shown["rows"] == shown["columns"] == [cltm.languages[i] for i in order]
        assert shown["wrong"] == 0
    turkic = {code for code, family in zip(cltm.languages, cltm.families, strict=True) if family == "Turkic"}
    few = done["few"]
    assert {*few["rows"]} == {*few["columns"]} == turkic | {"l3"}
    assert (few["wrong"], few["said"]) == (0, f"{len(few['rows'])} of {N} languages")
    first, third = few["rows"][0], few["rows"][2]
    assert done["at"][0].startswith(f"target {first}, donor {third}: r = ")
    assert done["at"][2:] == [first, third]
    assert (done["gone"], done["back"], done["hidden"]) == ("none", N, False)


def _opened(page, profile):
    """The page after its scripts ran; fails on an error in them."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "--dump-dom", page.as_uri()]
    dom = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "<title>failed" not in dom
    return dom
