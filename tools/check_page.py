"""Check a report for accessibility: axe-core in headless Chromium, on a copy of the page that holds axe itself.

    python tools/check_page.py PAGE.html [--axe AXE.min.js] [--chromium CHROMIUM]

Needs Chromium and npm, or an ``axe.min.js`` found in node_modules. Looks at the page on a desktop, on a phone and in
dark colours, with all unfolded that can be unfolded. Prints what is wrong and exits with 1; exits with 2 if the check
itself could not be run.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=60000",
]
RUN = """
addEventListener("load", async () => {
  document.querySelectorAll("details").forEach(each => each.open = true);
  const found = await axe.run(document, {resultTypes: ["violations", "incomplete"],
    rules: {"color-contrast": {enabled: false}}});
  // Cells out of sight or under a sticky heading have no colour behind them: lay them open. Small text is judged no
  // less strictly.
  const open = document.createElement("style");
  open.textContent = "html{font-size:35%} .scroll{overflow:visible;width:max-content} *{position:static!important}";
  document.head.append(open);
  const colors = await axe.run(document, {resultTypes: ["violations", "incomplete"], runOnly: ["color-contrast"]});
  open.remove();
  found.violations.push(...colors.violations);
  found.incomplete.push(...colors.incomplete);
  const short = each => ({id: each.id, impact: each.impact, help: each.help,
    nodes: each.nodes.map(node => [node.html.slice(0, 200), node.failureSummary])});
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const out = document.createElement("pre");
  out.id = "axe-found";
  out.textContent = JSON.stringify({violations: found.violations.map(short), incomplete: found.incomplete.map(short),
    passes: found.passes.length + colors.passes.length, wide});
  document.body.append(out);
});
"""

FRAME = """<!DOCTYPE html>
<html lang="en"><title>frame</title><body style="margin:0">
<iframe title="page" src="page.html" style="border:0;width:{width}px;height:{height}px"></iframe>
<script>
setInterval(() => {{
  const found = document.querySelector("iframe").contentDocument.querySelector("#axe-found");
  if (found && !document.querySelector("#axe-found")) document.body.append(found.cloneNode(true));
}}, 100);
</script></body></html>
"""


def main() -> int:
    """Run the check and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--axe", type=Path, help="axe.min.js; by default looked for in node_modules, or installed")
    parser.add_argument("--chromium", default=None, help="by default chromium, chromium-browser or google-chrome")
    asked = parser.parse_args()
    browser = asked.chromium or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    if browser is None:
        return _cannot("expected Chromium on the PATH; found none. Install it, or pass --chromium.")
    with tempfile.TemporaryDirectory() as folder:
        axe = asked.axe or _find_axe(Path(folder))
        if axe is None:
            return _cannot("expected axe-core; found none and npm could not install it. Pass --axe axe.min.js.")
        bad = 0
        for name, size, dark in (
            ("desktop", "1280,900", False),
            ("phone", "390,844", False),
            ("dark", "1280,900", True),
        ):
            found = _look(asked.page, axe.read_text("utf-8"), browser, size, dark, Path(folder))
            if found is None:
                return _cannot(f"the browser returned no result for {asked.page} ({name}).")
            bad += _tell(name, found)
    return 1 if bad else 0


def _look(page: Path, axe: str, browser: str, size: str, dark: bool, folder: Path) -> dict | None:
    text = page.read_text("utf-8")
    if dark:
        text = text.replace("@media screen and (prefers-color-scheme:dark)", "@media screen")
    copy = folder / "page.html"
    inlined = axe.replace("</script", "<\\/script")
    head, end, rest = text.rpartition("</body>")
    copy.write_text(f"{head}<script>{inlined}</script><script>{RUN}</script>{end}{rest}", "utf-8")
    frame = folder / "frame.html"
    width, height = size.split(",")
    # Chromium does not make its own window as narrow as a phone, so the page is looked at in a frame of that width.
    frame.write_text(FRAME.format(width=width, height=height), "utf-8")
    command = [browser, *FLAGS, "--allow-file-access-from-files", f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={max(int(width), 600)},{height}", "--dump-dom", frame.as_uri()]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False).stdout
    result = re.search(r'<pre id="axe-found">(.*?)</pre>', shown, re.S)
    if result is None:
        return None
    plain = result[1].replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", " ").replace("&amp;", "&")
    return json.loads(plain)


def _tell(name: str, found: dict) -> int:
    print(
        f"{name}: {found['passes']} rules passed, {len(found['violations'])} violated, "
        f"{len(found['incomplete'])} left to the eye"
    )
    for each in found["violations"]:
        print(f"  {each['id']} ({each['impact']}): {each['help']}")
        for html, why in each["nodes"][:5]:
            print(f"    {html}\n      {(why or '').strip()}")
    for each in found["incomplete"]:
        print(f"  to look at: {each['id']}, {len(each['nodes'])} places: {each['help']}")
        for html, why in each["nodes"][:2]:
            print(f"    {html}\n      {(why or '').strip()}")
    if found["wide"] > 0:
        print(f"  the page is {found['wide']} px wider than its window")
    return len(found["violations"]) + (found["wide"] > 0)


def _find_axe(folder: Path) -> Path | None:
    place = Path("node_modules/axe-core/axe.min.js")
    if place.exists():
        return place
    npm = shutil.which("npm")
    if npm is None:
        return None
    subprocess.run([npm, "install", "--no-save", "--silent", "--prefix", str(folder), "axe-core"], check=False)
    return folder / place if (folder / place).exists() else None


def _cannot(why: str) -> int:
    print(why, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
