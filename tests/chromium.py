"""Debian's Chromium, drawing without a graphics card, for whoever looks at pages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

__all__ = ["CHROMIUM", "browsing", "launched"]

CHROMIUM = shutil.which("chromium")
_FLAGS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")


def launched(playwright: Any) -> Any:
    """A browser of its own."""
    return playwright.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))


def browsing() -> Iterator[Any]:
    """One for a fixture; where there is none its tests are skipped, with the reason."""
    import pytest

    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    with api.sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()
