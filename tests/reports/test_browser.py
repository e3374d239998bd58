"""The page in a browser, Debian's chromium: it asks for nothing, is sorted and filtered, and fails no rule of axe-core.

A machine without the browser skips these tests; with KAGGLEPIPE_BROWSER=required, as in .ci/run, they fail. Screenshots
are kept in the folder KAGGLEPIPE_SCREENSHOTS, where that is set.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from axe_core_python.selenium import Axe
from PIL import Image
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from kagglepipe.reports.comparison import comparison
from kagglepipe.reports.page import render
from kagglepipe.reports.thumbnails import Album
from tests.reports.browsing import LOOKS, chromium, open_page, seen_as
from tests.reports.test_page import FRAMES, HOSTILE, confused, page_of


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    try:
        with chromium() as browser:
            yield browser
    except FileNotFoundError as error:
        (pytest.fail if os.environ.get("KAGGLEPIPE_BROWSER") == "required" else pytest.skip)(str(error))


def comparison_page() -> str:
    row = {"run": HOSTILE, "metric": "accuracy", "score": 0.9, "low": 0.8, "high": 0.95, "network": HOSTILE,
           "rows": 12000, "folds": 5, "parameters": 4e6, "seconds": 9.0, "finished": "2026-11-28 14:05",
           "is_ensemble": False}  # fmt: skip
    facts = [{**row, "settings": {"seed": str(seed), "name": HOSTILE}} for seed in range(30)]
    return render(HOSTILE, comparison("accuracy", facts, HOSTILE, have_one_table=False), Album(None, 0))


@pytest.fixture(params=[*FRAMES, "runs"])
def page(request: pytest.FixtureRequest, browser: Chrome, tmp_path: Path) -> str:
    """Address of the page of a task, opened; the logs are empty before."""
    for log in ("browser", "performance"):
        browser.get_log(log)
    file = tmp_path / "report.html"
    is_frame = request.param in FRAMES
    file.write_text(page_of(FRAMES[request.param]())[0] if is_frame else comparison_page(), "utf-8")
    open_page(browser, file)
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


@pytest.mark.parametrize("look", ["light", "phone"])
def test_axe_finds_no_serious_fault(look: str, page: str, browser: Chrome) -> None:
    with seen_as(browser, look) as size:
        found = Axe().run(browser)["violations"]
        wide = browser.execute_script("return document.documentElement.scrollWidth")
    faults = {one["id"]: one["nodes"][0] for one in found if one["impact"] in ("serious", "critical")}
    assert not faults
    assert wide <= size["width"]  # nothing but tables scrolls sideways


@pytest.mark.parametrize("page", ["classes"], indirect=True)
@pytest.mark.parametrize("look", LOOKS)
def test_a_screenshot_is_of_the_size_and_colours_asked_for(
    look: str, page: str, browser: Chrome, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("KAGGLEPIPE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"report-{look}.png"
    with seen_as(browser, look) as size:
        browser.save_screenshot(str(file))
    with Image.open(file) as picture:
        assert picture.size == (size["width"], size["height"])
        grey = np.asarray(picture.convert("L"))
    assert (np.median(grey) > 200) == (look == "light")
    assert grey.std() > 10  # there is something on it


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
    said = browser.find_element(By.CSS_SELECTOR, ".filters output").text
    assert said == "3 of the 3 rows of cat answered dog are on this page"


def test_every_cell_to_click_shows_a_picture(browser: Chrome, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(page_of(confused(2000), images=60)[0], "utf-8")
    open_page(browser, file)
    script = """const seen = () => [...document.querySelectorAll('.card')].filter(
        card => card.offsetParent && card.querySelector('use')).length;
        return [...document.querySelectorAll('.matrix button')].map(one => { one.click(); return seen() })"""
    found = browser.execute_script(script)
    assert len(found) == 30
    assert min(found) > 0
