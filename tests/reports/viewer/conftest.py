"""A headless browser that opens pages."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.reports.browser import find_browser

_SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_READY_MS = 60_000


@dataclass
class OpenPage:
    """A page in the browser.

    Attributes:
        page: Playwright's page.
        faults: errors and warnings of the console, and uncaught errors.
        requests: addresses outside the page itself.
    """

    page: Any
    faults: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def ready(self, number: int = 0) -> None:
        """Wait until a case is drawn."""
        self.page.wait_for_selector(f'#viewer[data-ready="{number}"]', timeout=_READY_MS)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def run(self, script: str, argument: Any = None) -> Any:
        """Result of a script in the page."""
        return self.page.evaluate(script, argument)

    def canvas(self, which: str) -> np.ndarray:
        """Pixels (H, W, 3) of the viewer's "slices" or "surface"."""
        # pixels of WebGL can be read in the task that draws them only
        script = "which => { picture[which].drawScene(); return picture[which].gl.canvas.toDataURL(); }"
        return _pixels(base64.b64decode(self.run(script, which).partition(",")[2]))

    def shot(self, selector: str) -> np.ndarray:
        """Pixels (H, W, 3) of an element as the browser shows it."""
        return _pixels(self.page.locator(selector).screenshot())


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless browser that draws WebGL in software.

    Playwright runs an event loop while it is on, so it ends with the module: other tests may run loops of their own.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs pip install playwright")
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=find_browser(), args=_SOFTWARE_GL)
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any) -> Iterator[Callable[..., OpenPage]]:
    """Opens a page of the disk; at the end of the test, it has logged no error and asked for nothing."""
    contexts, pages = [], []

    def open_page(path: Path, scheme: str = "light", before: str | None = None) -> OpenPage:
        context = browser.new_context(viewport={"width": 640, "height": 560}, color_scheme=scheme, offline=True)
        contexts.append(context)
        found = OpenPage(context.new_page())
        pages.append(found)
        found.page.on("console", lambda message: found.faults.append(f"{message.type}: {message.text}"))
        found.page.on("pageerror", lambda error: found.faults.append(str(error)))
        found.page.on("request", lambda request: found.requests.append(request.url))
        if before:
            found.page.add_init_script(before)
        found.page.goto(path.resolve().as_uri())
        return found

    yield open_page
    faults = [fault for page in pages for fault in page.faults]
    requests = [url[:100] for page in pages for url in page.requests if not url.startswith(("file:", "data:", "blob:"))]
    for context in contexts:
        context.close()
    assert faults == []
    assert requests == []
