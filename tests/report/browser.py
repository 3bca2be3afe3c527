"""A page as a headless Chromium shows it: what it loads, what it complains about, how wide it is."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

WIDTHS = (400, 1400)
SCHEMES = ("light", "dark")


def chromium() -> str | None:
    """The browser to use: ``$CHROMIUM``, or the first one on the path."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("CHROMIUM") or next((found for name in names if (found := shutil.which(name))), None)


def chromedriver() -> str | None:
    """What steers it."""
    return os.environ.get("CHROMEDRIVER") or shutil.which("chromedriver")


class Browser:
    """One browser window, steered through chromedriver."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path, width: int, scheme: str) -> None:
        """Show a page in a window of this width, to a reader who prefers this colour scheme."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get(page.as_uri())

    def run(self, script: str) -> Any:
        """The value of a piece of JavaScript."""
        return self.driver.execute_script(f"return {script}")

    def complaints(self) -> list[str]:
        """What is on the console."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses of all that was asked for; the browser's own pages and data within the page aside."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "chrome:"))]

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        import base64

        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "format": "png"})
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def opened() -> Iterator[Browser]:
    """A browser that is closed again."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium() or ""
    with tempfile.TemporaryDirectory(prefix="browser") as profile:
        switches = ("headless=new", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking")
        more = ("disable-component-update", "disable-sync", "disable-quic", f"user-data-dir={profile}")
        for switch in (*switches, *more):
            options.add_argument(f"--{switch}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=Service(chromedriver()))
        try:
            yield Browser(driver)
        finally:
            driver.quit()


if __name__ == "__main__":  # python -m tests.report.browser PAGE FOLDER: screenshots in all widths and schemes
    with opened() as browser:
        for width in WIDTHS:
            for scheme in SCHEMES:
                browser.open(Path(sys.argv[1]).absolute(), width, scheme)
                wide = browser.run("document.documentElement.scrollWidth")
                print(width, scheme, wide, browser.complaints(), browser.requests())
                browser.screenshot(Path(sys.argv[2], f"{width}_{scheme}.png"))
