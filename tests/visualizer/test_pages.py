"""The web page in a real browser, on real files that the other scripts make of the digits."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from edits.options import RepairOptions
from edits.record.report import STEP
from editset_helpers.edit_set import save_edit_set
from editset_helpers.generation import generate_edit_set, open_source
from editset_helpers.selection import Selection
from helpers.cli import DatasetName
from helpers.files.writing import write_json
from helpers.images.datasets import load_dataset
from run_repair import Job, repair
from tests.conftest import CHECKOUT
from tests.visualizer.test_content import HOSTILE, noise_set, report, result_row, write_results
from visualizer.app import create_app
from visualizer.export import export
from visualizer.server import make_page_server

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
EDIT_SET = "data/edit_sets/digits/class_8_8_any_edit_dataset.pt"
LARGE = "data/edit_sets/large_edit_dataset.pt"
REPORT = "artifacts/repaired.json"
PAGES = {
    "home": "/",
    "edit sets": "/edit-sets",
    "edit set": f"/edit-sets/{EDIT_SET}",
    "edit image": f"/edit-sets/{EDIT_SET}?image=3",
    "repairs": "/repairs",
    "repair": f"/repairs/{REPORT}",
    "repair's image": f"/repairs/{REPORT}?edit_image=1",
    "before and after": f"/compare?pick={REPORT}",
    "two repairs": f"/compare?pick={REPORT}&pick=artifacts/next.json",
    "repair upon a repair": "/repairs/artifacts/next.json",
    "infeasible": "/repairs/artifacts/infeasible_failed.json",
    "experiments": "/experiments?file=results/sweep.csv",
    "unknown": "/edit-sets/data/edit_sets/none.pt",
}

if CHROMIUM is None:
    pytest.skip("no page was opened in a browser, for there is none: install chromium", allow_module_level=True)


@pytest.fixture(scope="module")
def site(module_folder: Path, digits_baseline: Path) -> Path:
    """A project's folder: two edit sets of digits and one of noise, a repair, one that failed, and a sweep."""
    folder = module_folder
    with contextlib.chdir(folder):
        job = Job(dataset=DatasetName.DIGITS, weights=digits_baseline, output=Path("artifacts/repaired.pth"))
        assert repair(Selection("misclassified"), job, RepairOptions(prepare="none")).status == "repaired"
        job = Job(dataset=DatasetName.DIGITS, weights=digits_baseline, output=Path("artifacts/infeasible.pth"))
        failed = repair(Selection("misclassified"), job, RepairOptions(prepare="none", param_bound=1e-3))
        assert failed.status == "infeasible"
        write_next(folder)
        eights = Selection("by-class", "8", "any")
        source = open_source(load_dataset(DatasetName.DIGITS, "test"), digits_baseline)
        save_edit_set(generate_edit_set(eights, source, "test"), Path(EDIT_SET))
        save_edit_set(noise_set(2500), Path(LARGE))
    write_sweep(folder, 9)
    return folder


def write_next(folder: Path) -> None:
    """The same repair under another name, as if it were made upon the first."""
    told = json.loads((folder / REPORT).read_text())
    step = {key: told[key] for key in STEP}
    later = {"earlier": [step], "earlier_images": told["edit_set_size"] - 2, "output_path": "artifacts/next.pth"}
    write_json(folder / "artifacts/next.json", told | later)
    shutil.copyfile(folder / "artifacts/repaired_outcomes.pt", folder / "artifacts/next_outcomes.pt")


def write_sweep(folder: Path, rows: int) -> None:
    """A result table whose every second row links to the repair that there is."""
    kinds = ("misclassified", "class_homogeneous")
    table = [
        result_row(
            number,
            repair_set_type=kinds[number % 2],
            target_class=("", "8")[number % 2],
            requested_repair_set_size=(5, 10, 20)[number % 3],
            repaired_model_path=("artifacts/repaired.pth", "artifacts/gone.pth")[number % 2],
        )
        for number in range(rows)
    ]
    write_results(folder / "results/sweep.csv", table)


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with serving(site) as found:
        yield found


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """The address at which a folder's page is served."""
    server = make_page_server(create_app(folder), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def script_serving(folder: Path) -> Iterator[str]:
    """The address that the script prints, with a slash at its end."""
    command = [sys.executable, str(CHECKOUT / "editset_visualizer.py"), "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.communicate(timeout=20)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Watched:
    """Collects what a page complains of, and which other machines it asks."""

    def __init__(self, page: Page, address: str) -> None:
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.address = address
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._request(request.url))

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _request(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.foreign.append(url)


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """A fresh page; after the test, nothing was complained of, and no other machine was asked."""
    context = browser.new_context(base_url=address)
    opened = context.new_page()
    watched = Watched(opened, address)
    yield opened
    context.close()
    assert watched.complaints == []
    assert watched.foreign == []


LOOKS = {"light": ("light", 1280), "dark": ("dark", 1280), "phone": ("light", 360), "dark phone": ("dark", 360)}


@pytest.mark.parametrize(
    "look", [pytest.param(look, marks=pytest.mark.slow if look != "light" else ()) for look in LOOKS]
)
@pytest.mark.parametrize("name", PAGES)
def test_pages_are_accessible_in_every_look(browser: Browser, address: str, name: str, look: str) -> None:
    scheme, width = LOOKS[look]
    context = browser.new_context(
        base_url=address, color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 800}
    )
    with contextlib.closing(context):
        opened = context.new_page()
        watched = Watched(opened, address)
        answer = opened.goto(PAGES[name])
        opened.wait_for_load_state("networkidle")
        if name != "unknown":
            assert answer is not None
            assert answer.status == 200
            assert watched.complaints == []
        assert watched.foreign == []
        violations = Axe().run(opened).response["violations"]
        assert [(found["id"], found["nodes"][0]["html"]) for found in violations] == []
        assert opened.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
def test_pages_of_an_empty_folder_are_accessible(browser: Browser, tmp_path: Path, scheme: str) -> None:
    with serving(tmp_path) as found, contextlib.closing(browser.new_context(base_url=found)) as context:
        opened = context.new_page()
        opened.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        for address in ("/", "/repairs", "/edit-sets", "/experiments", "/compare"):
            opened.goto(address)
            violations = Axe().run(opened).response["violations"]
            assert [(address, found["id"], found["nodes"][0]["html"]) for found in violations] == []


@pytest.mark.slow
def test_the_first_page_costs_little_more_of_2500_images_than_of_60(
    browser: Browser, site: Path, tmp_path: Path
) -> None:
    """As a ratio, for other programs on the machine slow both."""
    with contextlib.chdir(tmp_path):
        save_edit_set(noise_set(60), Path(LARGE))
    few, many = zip(
        *((_seconds_to_first_page(browser, folder) for folder in (tmp_path, site)) for _ in range(3)), strict=True
    )
    assert min(many) < 5 * min(few)


@pytest.mark.slow
def test_the_list_costs_little_more_of_1000_repairs_than_of_100(browser: Browser, tmp_path: Path) -> None:
    folders = {count: tmp_path / str(count) for count in (100, 1000)}
    for count, folder in folders.items():
        for number in range(count):
            write_json(folder / f"artifacts/r{number}.json", report(timestamp=f"2026-01-01T{number:05}"))
    few, many = zip(
        *((_seconds_to_list(browser, folder) for folder in folders.values()) for _ in range(3)), strict=True
    )
    assert min(many) < 5 * min(few)


def _seconds_to_list(browser: Browser, folder: Path) -> float:
    with serving(folder) as fresh, contextlib.closing(browser.new_context()) as context:
        opened = context.new_page()
        opened.goto(f"{fresh}/static/page.css")
        started = time.perf_counter()
        opened.goto(f"{fresh}/repairs", wait_until="domcontentloaded")
        expect(opened.locator("tbody tr")).to_have_count(100)
        return time.perf_counter() - started


def _seconds_to_first_page(browser: Browser, site: Path) -> float:
    """From home until the images are listed and the first is drawn, by a server that has read no set yet."""
    with serving(site) as fresh, contextlib.closing(browser.new_context()) as context:
        opened = context.new_page()
        opened.goto(fresh)
        started = time.perf_counter()
        opened.goto(f"{fresh}/edit-sets/{LARGE}", wait_until="domcontentloaded")
        expect(opened.locator(".grid img")).to_have_count(60)
        expect(opened.locator(".grid img").first).to_have_js_property("naturalWidth", 64)
        return time.perf_counter() - started


def test_an_edit_set_is_filtered_by_the_confusion_matrix(page: Page) -> None:
    page.goto(f"/edit-sets/{LARGE}")
    page.get_by_role("link", name="250 images of class 3 taken for class 4").click()
    expect(page.get_by_text("1 to 60 of 250 images").first).to_be_visible()
    expect(page.locator(".grid img").first).to_have_attribute("alt", "Image 4: class 3, taken for class 4")
    page.get_by_role("link", name="Next").first.click()
    expect(page.get_by_text("61 to 120 of 250 images").first).to_be_visible()
    expect(page.get_by_label("True class")).to_have_value("3")


def test_an_edit_set_is_filtered_and_sorted_by_its_form(page: Page) -> None:
    page.goto(f"/edit-sets/{LARGE}")
    page.get_by_label("True class").select_option("class 5 (250)")
    page.get_by_label("Order").select_option("margin, lowest first")
    page.get_by_label("Size").select_option("huge")
    page.get_by_role("button", name="Show").click()
    first = page.locator(".grid li").first
    expect(first).to_contain_text("margin \N{MINUS SIGN}249.50, test image 2495")
    expect(first.locator("img")).to_have_attribute("width", "320")
    assert first.locator("img").evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"


def test_images_load_when_they_come_into_view(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.url.count(".png") else None)
    page.goto(f"/edit-sets/{LARGE}?per=240&size=huge")
    page.wait_for_load_state("networkidle")
    before = len(asked)
    assert before < 120
    page.locator(".grid img").last.scroll_into_view_if_needed()
    expect(page.locator(".grid img").last).to_have_js_property("naturalWidth", 64)
    assert len(asked) > before


def test_the_grid_by_keyboard(page: Page) -> None:
    page.goto(f"/edit-sets/{EDIT_SET}")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    links = page.locator(".grid a")
    links.first.focus()
    page.keyboard.press("ArrowRight")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    expect(links.nth(1)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Image 2: 8")
    page.wait_for_load_state()  # the heading is there before the script that listens to keys
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Image 3: 8")
    page.get_by_role("navigation", name="Images").get_by_role("link", name="Previous").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Image 2: 8")
    page.get_by_role("link", name=EDIT_SET).click()
    expect(page.locator(".grid")).to_be_visible()


def test_a_repair_shows_what_it_promised_and_did(page: Page) -> None:
    page.goto("/repairs")
    page.locator(f"a[href='/repairs/{REPORT}']").click()
    expect(page.get_by_text("edit images are classified right, each by a margin of at least 2.0")).to_be_visible()
    edits = page.get_by_role("list", name="Edit images").locator("li")
    assert edits.count() >= 5
    assert edits.locator("b.wrong").count() == edits.locator("b.right").count() == edits.count()
    expect(edits.first.locator("img")).to_have_js_property("naturalWidth", 64)
    expect(page.locator("#plot-change-0 .heatmaplayer image")).to_have_count(1)
    expect(page.get_by_role("region", name="Changes by parameter")).to_contain_text("10 x 4096")
    page.get_by_role("link", name="data/edit_sets/digits/misclassified_edit_dataset.pt").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("misclassified images of handwritten digits")
    page.get_by_role("region", name="Repairs of it").get_by_role("link").first.click()
    expect(page.get_by_text("What was asked, and what is proved")).to_be_visible()


def test_broken_and_fixed_images_by_class(page: Page) -> None:
    page.goto(f"/repairs/{REPORT}")
    table = page.get_by_role("region", name="Broken and fixed by class")
    links = table.get_by_role("link")
    told = "no images at all" if links.count() == 0 else links.first.get_attribute("aria-label") or ""
    if links.count() == 0:
        expect(page.get_by_text("the repair broke 0 and fixed 0")).to_be_visible()
        return
    count, kind = int(told.split()[0]), told.split()[-1]
    links.first.click()
    images = page.get_by_role("list", name=f"Images {kind}").locator("li")
    expect(images).to_have_count(count)
    expect(images.locator("b.wrong")).to_have_count(count)
    images.first.locator("img").scroll_into_view_if_needed()
    expect(images.first.locator("img")).to_have_js_property("naturalWidth", 32)
    page.get_by_label("Images", exact=True).select_option("fixed" if kind == "broken" else "broken")
    page.get_by_label("True class").select_option("all")
    page.get_by_role("button", name="Show").click()
    expect(
        page.get_by_role("heading", name="The images fixed" if kind == "broken" else "The images broken")
    ).to_be_visible()


def test_an_infeasible_repair_shows_the_contradiction(page: Page) -> None:
    page.goto("/repairs/artifacts/infeasible_failed.json")
    expect(page.get_by_text("No --param-bound below")).to_be_visible()
    assert page.get_by_role("list", name="Contradicting images").locator("img").count() >= 1
    expect(page.get_by_text("this repair wrote no outcomes")).to_be_visible()


def test_the_table_of_a_sweep_is_sorted_by_its_heads(page: Page) -> None:
    page.goto("/experiments")
    head = page.get_by_role("columnheader", name="time")
    first = page.locator("#results tbody tr").first
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(first).to_contain_text("e0")
    head.get_by_role("button").press("Enter")
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(first).to_contain_text("e8")
    page.get_by_role("columnheader", name="type").get_by_role("button").click()
    expect(first).to_contain_text("class homogeneous")
    assert page.locator("[aria-sort]").count() == 1


def test_the_plots_of_a_sweep_lead_to_its_repairs(page: Page) -> None:
    page.goto("/experiments?file=results/sweep.csv")
    for name in ("accuracy", "drawdown", "runtime", "iterations", "success"):
        assert page.locator(f"#plot-{name} .point").count() > 0, name
    point = page.locator("#plot-runtime .trace").last.locator(".point").first
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 3, y)
    page.mouse.move(x, y)
    expect(page.locator("#plot-runtime .hoverlayer")).to_contain_text("experiment_id: e")
    page.mouse.click(x, y)
    page.wait_for_url(f"**/repairs/{REPORT}")


def test_the_rows_of_a_sweep_lead_to_its_repairs(page: Page) -> None:
    page.goto("/experiments")
    page.get_by_role("link", name="e2", exact=True).click()
    page.wait_for_url(f"**/repairs/{REPORT}")


def test_a_running_sweep_is_shown_live(page: Page, site: Path) -> None:
    write_sweep(site, 9)  # anew: a table that has not changed for long is of a sweep that has ended
    page.goto("/experiments?file=results/sweep.csv")
    expect(page.get_by_text("9 rows: 9 repaired, 0 not; running.")).to_be_visible()
    page.get_by_role("columnheader", name="time").get_by_role("button").dblclick()
    write_sweep(site, 11)
    expect(page.get_by_text("11 rows: 11 repaired, 0 not; running.")).to_be_visible(timeout=8000)
    expect(page.locator("#results tbody tr")).to_have_count(11)
    expect(page.locator("#results tbody tr").first).to_contain_text("e10")
    expect(page.locator("#live-last li").first).to_contain_text("e10")
    write_sweep(site, 9)


def test_two_ticked_repairs_are_compared(page: Page) -> None:
    page.goto("/repairs")
    for name in (REPORT, "artifacts/next.json"):
        page.get_by_label(f"Compare {name}").check()
    page.get_by_role("button", name="Compare those ticked").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Two repairs side by side")
    page.get_by_role("link", name="both fixed").click()
    page.get_by_role("list", name="Images", exact=True).get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Test image")


def test_the_list_is_sorted_by_its_heads(page: Page) -> None:
    page.goto("/repairs")
    page.get_by_role("columnheader", name="drawdown").get_by_role("link").click()
    expect(page.get_by_role("columnheader", name="drawdown")).to_have_attribute("aria-sort", "descending")
    expect(page.locator("tbody tr").last).to_contain_text("infeasible")
    page.get_by_label("Words in a name").fill("infeasible")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("tbody tr")).to_have_count(1)


def test_an_image_of_a_repair_opens(page: Page) -> None:
    page.goto(f"/repairs/{REPORT}")
    page.get_by_role("list", name="Edit images").get_by_role("link").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Edit image 1")
    expect(page.get_by_role("region", name="Probabilities").locator("tbody tr")).to_have_count(10)
    expect(page.get_by_role("list", name="Copies").locator("img").first).to_have_js_property("naturalWidth", 64)
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Edit image 2")


def test_exported_files_open_without_a_server(browser: Browser, site: Path, tmp_path: Path) -> None:
    index = export(create_app(site), Path("results/sweep.csv"), tmp_path / "sent")
    with contextlib.closing(browser.new_context()) as context:
        opened = context.new_page()
        watched = Watched(opened, index.parent.as_uri())
        opened.goto(index.as_uri())
        expect(opened.locator("#plot-runtime .point").first).to_be_visible()
        opened.locator("#results a").first.click()
        expect(opened.get_by_role("list", name="Edit images").locator("img").first).to_be_visible()
        opened.wait_for_load_state("networkidle")
    assert watched.complaints == []
    assert watched.foreign == []


def test_hostile_names_run_nothing(browser: Browser, tmp_path: Path) -> None:
    """Also in the plots, whose texts plotly reads as markup."""
    save_edit_set(
        noise_set(12, true_class=HOSTILE, predicted_class=HOSTILE),
        tmp_path / f"data/edit_sets/{HOSTILE.replace('/', '')}_edit_dataset.pt",
    )
    hostile = {"experiment_id": HOSTILE, "repair_set_type": HOSTILE, "error_message": HOSTILE, "target_class": HOSTILE}
    write_results(tmp_path / "results/sweep.csv", [result_row(1, **hostile, repaired_model_path="javascript:alert(1)")])
    with serving(tmp_path) as found:
        context = browser.new_context(base_url=found)
        with contextlib.closing(context):
            opened = context.new_page()
            watched = Watched(opened, found)
            opened.on("dialog", lambda dialog: watched.complaints.append(dialog.message))
            opened.goto("/edit-sets")
            opened.locator("tbody a").click()
            opened.locator(".grid a").first.click()
            opened.goto("/experiments")
            opened.locator("#plot-runtime .point").first.hover(force=True)
            opened.wait_for_load_state("networkidle")
            assert opened.locator("img[src=x]").count() == 0
    assert watched.complaints == []
    assert watched.foreign == []


def test_the_script_prints_its_address(site: Path) -> None:
    with script_serving(site) as address:
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{address}edit-sets", timeout=10) as answer:
            assert answer.status == 200


@pytest.mark.slow
def test_screenshots_are_taken_by_a_command(site: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tools.screenshots",
        "--chromium",
        str(CHROMIUM),
        "--output",
        str(tmp_path / "shots"),
    ]
    places = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    ended = subprocess.run(command, cwd=site, env=places, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    pictures = sorted((tmp_path / "shots").iterdir())
    names = ["comparison", "edit_set", "experiments", "image", "overview", "repair"]
    assert [picture.stem for picture in pictures] == names
    assert all(5_000 < picture.stat().st_size < 300_000 for picture in pictures)
