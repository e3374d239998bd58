"""Pages in Debian's chromium, and pictures of them.

python -m tests.reports.browsing outputs/SLUG/RUN/report.html#SECTION FILE.webp [dark | phone]
"""

import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.support.ui import WebDriverWait

FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900",
         "--force-prefers-reduced-motion")  # fmt: skip  # no sandbox, since that refuses root; no smooth scrolling
DESK = {"width": 1200, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
LOOKS = {"light": ("light", DESK), "dark": ("dark", DESK), "phone": ("dark", PHONE)}


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Open the browser, its logs kept; raises FileNotFoundError where it is not installed."""
    binary, driver = map(shutil.which, ("chromium", "chromedriver"))
    if binary is None or driver is None:
        raise FileNotFoundError("there is no browser: type apt-get install chromium chromium-driver")
    options = ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    with Chrome(options, ChromeService(driver)) as browser:
        yield browser


def open_page(browser: Chrome, file: Path, section: str = "") -> None:
    """Open a page and wait until all of it is there: on a busy machine the driver may come back before that."""
    address = file.absolute().as_uri()
    browser.get(address + section)
    is_whole = "return document.readyState === 'complete' && location.href.startsWith(arguments[0])"
    WebDriverWait(browser, 60).until(lambda opened: opened.execute_script(is_whole, address))


@contextmanager
def seen_as(browser: Chrome, look: str) -> Iterator[dict[str, Any]]:
    """Show pages in one of LOOKS while the block runs; yields the size of the screen."""
    scheme, size = LOOKS[look]
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        yield size
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


if __name__ == "__main__":
    page, sign, section = sys.argv[1].partition("#")
    with chromium() as browser, seen_as(browser, sys.argv[3] if len(sys.argv) > 3 else "light"):
        open_page(browser, Path(page), sign + section)
        picture = Image.open(io.BytesIO(browser.get_screenshot_as_png()))
    picture.save(sys.argv[2])  # in the format of its suffix
