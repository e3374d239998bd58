"""The page in a browser, Debian's chromium: it asks for nothing, is sorted and filtered, and fails no rule of axe-core.

A machine without the browser skips these tests; with KAGGLEPIPE_BROWSER=required, as in .ci/run, they fail.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_core_python.selenium import Axe
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from kagglepipe.reports.comparison import comparison
from kagglepipe.reports.page import render
from kagglepipe.reports.thumbnails import Album
from tests.reports.test_page import FRAMES, HOSTILE, page_of

FLAGS = ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900",
         "--force-prefers-reduced-motion")  # fmt: skip  # no sandbox, since that refuses root; no smooth scrolling
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    chromium, driver = map(shutil.which, ("chromium", "chromedriver"))
    if chromium is None or driver is None:
        missing = "there is no browser: type apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("KAGGLEPIPE_BROWSER") == "required" else pytest.skip)(missing)
    options = ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    with Chrome(options, ChromeService(driver)) as browser:
        yield browser


def comparison_page() -> str:
    row = {"run": HOSTILE, "metric": "accuracy", "score": 0.9, "low": 0.8, "high": 0.95, "network": HOSTILE,
           "parameters": 4e6, "seconds": 9.0, "finished": "2026-11-28 14:05", "is_ensemble": False}  # fmt: skip
    facts = [{**row, "settings": {"seed": str(seed), "name": HOSTILE}} for seed in range(30)]
    return render(HOSTILE, comparison("accuracy", facts), Album(None, 0))


@pytest.fixture(params=[*FRAMES, "runs"])
def page(request: pytest.FixtureRequest, browser: Chrome, tmp_path: Path) -> str:
    """Address of the page of a task, opened; the logs are empty before."""
    for log in ("browser", "performance"):
        browser.get_log(log)
    file = tmp_path / "report.html"
    is_frame = request.param in FRAMES
    file.write_text(page_of(FRAMES[request.param]())[0] if is_frame else comparison_page(), "utf-8")
    browser.get(file.as_uri())
    return file.as_uri()


def shown(browser: Chrome) -> list[dict[str, str]]:
    """The data of the cards that the gallery shows, in its order."""
    script = (
        "return [...document.querySelectorAll('.card')].filter(one => one.offsetParent).map(one => ({...one.dataset}))"
    )
    return browser.execute_script(script)


def choose(browser: Chrome, name: str, value: str) -> None:
    """Type the begin of an option, as by keyboard: clicks of chromedriver on an option cause no `input`."""
    browser.find_element(By.CSS_SELECTOR, f".filters [name={name}]").send_keys(value)


def test_the_page_asks_for_nothing_and_logs_no_error(page: str, browser: Chrome) -> None:
    events = [json.loads(line["message"])["message"] for line in browser.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}
    assert page in asked
    assert not [url for url in asked - {page} if not url.startswith("data:")]
    assert browser.get_log("browser") == []


def test_hostile_names_are_text(page: str, browser: Chrome) -> None:
    assert browser.title == HOSTILE
    assert HOSTILE in browser.find_element(By.TAG_NAME, "h1").text
    assert browser.execute_script("return document.scripts.length") == 1


@pytest.mark.parametrize(("scheme", "size"), [("light", None), ("dark", PHONE)], ids=["desk", "phone"])
def test_axe_finds_no_serious_fault(scheme: str, size: dict[str, Any] | None, page: str, browser: Chrome) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    if size:
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        found = Axe().run(browser)["violations"]
        wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    faults = {one["id"]: one["nodes"][0] for one in found if one["impact"] in ("serious", "critical")}
    assert not faults
    assert wide <= 0  # nothing but tables scrolls sideways


@pytest.mark.parametrize("page", ["classes"], indirect=True)
def test_the_gallery_is_filtered_and_sorted(page: str, browser: Chrome) -> None:
    cards = shown(browser)
    losses = [float(card["loss"]) for card in cards]
    assert len(cards) == 24
    assert losses == sorted(losses, reverse=True)
    choose(browser, "state", "wrong")
    assert {card["state"] for card in shown(browser)} == {"wrong"}
    assert len(shown(browser)) == 9
    choose(browser, "order", "name")
    names = [card["name"] for card in shown(browser)]
    assert names[0].endswith(HOSTILE)
    assert names == sorted(names)
    assert "9 of 24 shown" in browser.find_element(By.CSS_SELECTOR, ".filters output").text


@pytest.mark.parametrize("page", ["tags"], indirect=True)
def test_the_gallery_is_filtered_from_and_up_to_a_probability(page: str, browser: Chrome) -> None:
    every = [float(card["p"]) for card in shown(browser)]
    for name, value in (("least", "0.2"), ("most", "0.5")):
        field = browser.find_element(By.CSS_SELECTOR, f".filters [name={name}]")
        field.clear()
        field.send_keys(value)
    inside = [p for p in every if 0.2 <= p <= 0.5]
    assert 0 < len(inside) < len(every)
    assert sorted(float(card["p"]) for card in shown(browser)) == sorted(inside)
    browser.find_element(By.CSS_SELECTOR, ".filters button").click()
    assert len(shown(browser)) == len(every)


@pytest.mark.parametrize("page", ["classes"], indirect=True)
def test_a_cell_of_the_confusion_matrix_shows_its_pictures(page: str, browser: Chrome) -> None:
    browser.find_element(By.CSS_SELECTOR, '.matrix [data-given="cat"][data-answer="dog"]').click()
    assert {(card["given"], card["answer"]) for card in shown(browser)} == {("cat", "dog")}
    assert len(shown(browser)) == 3
