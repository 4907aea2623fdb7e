"""Accessibility of a finished page, as axe-core sees it in a real browser.

    npm pack axe-core && tar xzf axe-core-*.tgz
    python scripts/axe.py page.html package/axe.min.js [chromium]

The page is copied, the copy is allowed to run scripts, axe-core runs in it at the width of a desk and of a phone, and
what it found is read from the resulting document. Exit code 1: a serious or critical violation, or a page that scrolls
sideways on a phone. Exit code 2: it could not be run. Nothing but the standard library; no test needs a browser.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

WIDTHS = (1280, 360)
BAD = ("serious", "critical")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--allow-file-access-from-files", "--virtual-time-budget=60000", "--dump-dom"),
)
POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
# Folded parts are opened, and the shadows at the edges of wide tables go, so that what is there can be judged. A
# headless window is never narrower than about 500 px: the page is looked at inside a frame of the wanted width.
PROBE = """
<style>.scroll {{ background: none !important; }}</style>
<script>{axe}</script>
<script>
addEventListener("load", async () => {{
  const root = document.documentElement;
  const sideways = root.scrollWidth - root.clientWidth;
  document.querySelectorAll("details").forEach((part) => {{ part.open = true; }});
  let said;
  try {{
    const found = await axe.run(document, {{ resultTypes: ["violations", "incomplete"] }});
    const short = (rule) => ({{
      id: rule.id, impact: rule.impact, help: rule.help,
      nodes: rule.nodes.map((node) => node.target.join(" ") + " :: " + (node.failureSummary || "")),
    }});
    said = {{
      width: root.clientWidth, sideways, opened: root.scrollWidth - root.clientWidth, passes: found.passes.length,
      violations: found.violations.map(short), incomplete: found.incomplete.map(short),
    }};
  }} catch (problem) {{
    said = {{ error: String(problem) }};
  }}
  parent.postMessage(JSON.stringify(said), "*");
}});
</script>
"""
FRAME = """<!DOCTYPE html><meta charset="utf-8"><title>frame</title>
<pre id="found"></pre>
<script>
addEventListener("message", (sent) => {{ document.getElementById("found").textContent = sent.data; }});
</script>
<iframe src="page.html" width="{width}" height="900" style="border: 0"></iframe>
"""


def look(page: str, axe: str, width: int, browser: str) -> dict[str, Any]:
    """What axe-core finds on a page shown at a width."""
    probed = POLICY.sub("", page)
    cut = probed.rindex("</body>")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "page.html").write_text(probed[:cut] + PROBE.format(axe=axe) + probed[cut:], encoding="utf-8")
        frame = Path(folder, "frame.html")
        frame.write_text(FRAME.format(width=width), encoding="utf-8")
        command = [browser, *FLAGS, f"--user-data-dir={folder}/profile", frame.as_uri()]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    said = re.search(r'<pre id="found">(.*?)</pre>', run.stdout, re.DOTALL)
    if said is None or not said[1]:
        raise RuntimeError(f"the browser gave no answer (exit code {run.returncode}):\n{run.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(html.unescape(said[1]))
    if "error" in found:
        raise RuntimeError(found["error"])
    return found


def report(found: dict[str, Any], width: int) -> bool:
    """Print what was found; whether it is acceptable."""
    bad = [rule for rule in found["violations"] if rule["impact"] in BAD]
    print(
        f"{width} px: {found['passes']} rules passed, {len(found['violations'])} violated "
        f"({len(bad)} serious or critical), {len(found['incomplete'])} for a human to judge"
    )
    for kind in ("violations", "incomplete"):
        for rule in found[kind]:
            print(f"  {kind}: {rule['id']} [{rule['impact']}] {rule['help']} ({len(rule['nodes'])} places)")
            for node in rule["nodes"][:3]:
                print("    " + " ".join(node.split()))
    over = max(found["sideways"], found["opened"])
    if over > 0:
        print(f"  the page is {over} px wider than the window")
    return not bad and over <= 0


def main(arguments: list[str]) -> int:
    if len(arguments) not in (2, 3):
        print(__doc__)
        return 2
    browser = arguments[2] if len(arguments) == 3 else next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("no Chromium found; name one as the third argument")
        return 2
    page, axe = (Path(name).read_text(encoding="utf-8") for name in arguments[:2])
    try:
        fine = [report(look(page, axe, width, browser), width) for width in WIDTHS]
    except (RuntimeError, subprocess.TimeoutExpired) as problem:
        print(problem)
        return 2
    return 0 if all(fine) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
