"""A page in a headless browser: messages in its console, and whether its pictures load."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_RECORD = """<script>
window.faults = [];
window.addEventListener("error", event => window.faults.push(String(event.message || event.target.tagName)), true);
console.error = (...parts) => window.faults.push(parts.join(" "));
</script>"""
_ASK = """<script>
window.addEventListener("load", () => {
  const images = [...document.images].map(i => ({width: i.naturalWidth, alt: i.alt, shown: i.clientWidth}));
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = JSON.stringify({images, faults: window.faults, overflow: wide});
  document.body.append(result);
});
</script>"""
_POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')


def find_browser() -> str:
    """Path of a browser; skips the test without one."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(f"needs a browser ({', '.join(_NAMES)})")
    return found


def console_of(page: Path, folder: Path) -> list[str]:
    """Lines that the unchanged page writes to the browser's console."""
    return [line for line in _run(page, folder).stderr.splitlines() if "CONSOLE" in line]


def inspect(page: Path, folder: Path) -> dict[str, Any]:
    """Open a copy that inspects itself: natural widths of its images, its errors, and overflow beyond the window.

    Args:
        page: HTML page; the copy drops its content policy, which allows no scripts.
        folder: folder for the copy and the browser's profile.
    """
    text = _POLICY.sub("", page.read_text(encoding="utf-8"))
    copy = folder / "inspected.html"
    copy.write_text(
        text.replace("<head>", f"<head>{_RECORD}", 1).replace("</body>", f"{_ASK}</body>", 1), encoding="utf-8"
    )
    dom = _run(copy, folder).stdout
    found = re.search(r'<pre id="result">(.*?)</pre>', dom, re.DOTALL)
    assert found, f"the page did not load: {dom[-500:]}"
    return json.loads(html.unescape(found[1]))


def _run(page: Path, folder: Path) -> subprocess.CompletedProcess:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=1300,1000"]
    options += [f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=10000", "--dump-dom"]
    command = [find_browser(), *options, page.resolve().as_uri()]
    return subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120, check=True)
