"""The pictures of the docs, from a finished run: ``python -m docs.make_images outputs/<day>/<time>``.

They show what the software wrote: ``table.png`` the table at the end of the run, ``report.png`` the head of its
``report.html``. Needs Chromium and chromedriver, and the extra ``test``.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from rich.console import Console

from lightning_distill.report import RunFolder, final_table
from tests.report.browser import opened

IMAGES = Path(__file__).parent / "images"
MOST_BYTES = 200_000
STYLE = "html { overflow: hidden } body { display: inline-block; margin: 12px; font-size: 14px }"
PAGE = "<html><style>{style}</style><body>{code}</body></html>"


def table_page(run: RunFolder, page: Path) -> None:
    """The run's last table as a page."""
    console = Console(record=True, width=92, file=sys.stderr, highlight=False)
    console.print(final_table(run.read()))
    page.write_text(
        PAGE.format(style=STYLE, code=console.export_html(code_format="<pre>{code}</pre>", inline_styles=True))
    )


def make(run: RunFolder) -> list[Path]:
    """Write both pictures and return their paths."""
    IMAGES.mkdir(exist_ok=True)
    table, report = IMAGES / "table.png", IMAGES / "report.png"
    with tempfile.TemporaryDirectory() as folder, opened() as window:
        page = Path(folder) / "table.html"
        table_page(run, page)
        for source, width, height, target in ((page, 730, 145, table), (run.path / "report.html", 1100, 900, report)):
            window.open(source, width, "light")
            shown = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            window.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shown)
            window.driver.save_screenshot(str(target))
    return [table, report]


def main() -> None:
    """Make them, and refuse pictures that are too large."""
    for path in make(RunFolder(Path(sys.argv[1]).absolute())):
        size = path.stat().st_size
        print(f"{path}: {size:,} bytes")
        if size > MOST_BYTES:
            raise SystemExit(f"Expected {path} to have at most {MOST_BYTES:,} bytes, but it has {size:,}.")


if __name__ == "__main__":
    main()
