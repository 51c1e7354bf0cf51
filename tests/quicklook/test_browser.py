"""The page in a real browser."""

import shutil

import pytest
from pages import NASTY, PRODUCT, entry

from msa3d_steps.quicklook.page import write_page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-first-run",
)  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page_path(tmp_path_factory):
    """A page of five sources; the third has no cube, the fourth no line."""
    folder = tmp_path_factory.mktemp("page")
    nothing = {"cube": "", "maps": "", "picture": "", "thumbnail": "", "line_snr": None, "line": ""}
    entries = [
        entry(folder, 2, line_snr=20.3, exposures_used=126, name=NASTY),
        entry(folder, 10, line_snr=100.0, exposures_used=18, warnings=("gaps in the pattern",)),
        entry(folder, 33, **nothing, redshift=None, problems=(f"{'x' * 80}_cal.fits: no WCS",)),
        entry(folder, 34, line_snr=None, line="", redshift=None, maps="", exposures_used=9),
        entry(folder, 120, line_snr=20.25, line="Ha", redshift=0.9, exposures_used=63),
    ]
    parameters = {"msa3d_cube": {"scalexy": 0.08, "offset_file": "y" * 200}}
    return write_page(folder / "index.html", entries, PRODUCT, parameters, {"jwst": "3.0"})


@pytest.fixture
def opened(browser, page_path):
    """Open the page; at the end there were no errors and no requests to elsewhere."""
    contexts, requests, messages = [], [], []

    def new(width=1280, height=900, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.goto(page_path.as_uri())
        return page

    yield new
    for context in contexts:
        context.close()
    assert page_path.as_uri() in requests
    beside = page_path.parent.as_uri()
    assert [r for r in requests if not r.startswith((beside, "data:"))] == []
    assert messages == []


def shown(page):
    """Numbers of the sources that are seen, from top to bottom."""
    found = page.locator(".sources tbody tr:visible").evaluate_all(
        "rows => rows.map(row => [row.getBoundingClientRect().top, row.dataset.title])"
    )
    return [int(title[1:]) for _, title in sorted(found)]


def heading(page, name):
    return page.get_by_role("columnheader", name=name, exact=True)


def test_sorted_by_clicks(opened):
    page = opened()
    assert page.title() == PRODUCT  # which a name tries to change
    assert page.locator("tr[data-title=s000000002] .name").inner_text() == NASTY
    assert shown(page) == [2, 10, 33, 34, 120]
    assert heading(page, "Source").get_attribute("aria-sort") == "ascending"
    snr = page.locator("th.line_snr")
    snr.get_by_role("button").click()
    assert shown(page) == [10, 2, 120, 33, 34]  # 100 > 20.3 > 20.25, as numbers; empty ones last
    assert snr.get_attribute("aria-sort") == "descending"
    assert page.locator("[aria-sort]").count() == 1
    snr.get_by_role("button").click()
    assert shown(page) == [120, 2, 10, 33, 34]  # empty ones last again
    assert snr.get_attribute("aria-sort") == "ascending"


def test_sorted_by_keyboard(opened):
    page = opened()
    page.locator("th.used button").focus()
    page.keyboard.press("Enter")
    assert shown(page) == [2, 33, 120, 10, 34]  # 126, 126, 63, 18, 9: as before among equals
    page.keyboard.press("Space")
    assert shown(page) == [34, 10, 120, 2, 33]
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('th').className") == "rejected"


def test_filtered(opened):
    page = opened()
    page.get_by_label("Filter").fill("ha F100LP")
    assert shown(page) == [120]
    assert page.locator("#found").inner_text() == "1 of 5 sources"
    page.get_by_label("Filter").fill("GAPS")
    assert shown(page) == [10]
    page.get_by_label("Filter").fill("")
    page.get_by_label("Line S/N at least").fill("20.28")
    assert shown(page) == [2, 10]  # those without a line are not
    page.get_by_label("Line S/N at least").fill("")
    page.get_by_label("with problems or warnings").check()
    assert shown(page) == [10, 33]
    page.locator("th.line_snr button").click()
    page.locator("th.line_snr button").click()
    assert shown(page) == [10, 33]  # sorting keeps the filter
    page.get_by_label("with problems or warnings").uncheck()
    assert page.locator("#found").inner_text() == ""


def test_a_link_to_a_row_that_is_filtered_away_shows_it(opened):
    page = opened()
    page.get_by_label("Filter").fill("Ha")
    page.locator("#problems a").first.click()
    page.locator("tr:target").wait_for(state="visible")
    assert shown(page) == [2, 10, 33, 34, 120]


def test_pictures_open_large(opened):
    page = opened()
    page.locator("th.line_snr button").click()  # 10, 2, 120, 33 (no picture), 34
    dialog, large = page.get_by_role("dialog"), page.locator("#large")
    page.locator("tr[data-title=s000000002] a.picture").click()
    assert dialog.is_visible()
    assert page.locator("#viewed").inner_text() == f"s000000002 · {NASTY}"
    assert page.locator("#count").inner_text() == "2 of 4"
    page.wait_for_function("document.getElementById('large').naturalWidth === 640")
    assert "s000000002" in large.get_attribute("alt")
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewed").inner_text() == "s000000120 · 2136_120"
    page.get_by_role("button", name="Next picture").click()
    assert "s000000034" in large.get_attribute("src")
    page.keyboard.press("ArrowRight")
    assert "s000000010" in large.get_attribute("src")  # begins again
    page.keyboard.press("ArrowLeft")
    assert "s000000034" in large.get_attribute("src")
    page.get_by_role("button", name="Full size").click()
    page.wait_for_function("document.getElementById('large').clientWidth === 640")
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    focused = page.evaluate("document.activeElement.closest('tr').dataset.title")
    assert focused == "s000000034"  # where the reader has come to
    page.keyboard.press("Enter")
    assert dialog.is_visible()
    page.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()


def test_a_phone_shows_cards(opened):
    page = opened(375, 812, device_scale_factor=2, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    page.locator("#parameters summary").first.click()  # a long value is in there
    page.locator("tr.problem").scroll_into_view_if_needed()
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert not page.locator(".sources thead").is_visible()
    row = page.locator("tr[data-title=s000000002]")
    row.scroll_into_view_if_needed()
    card = row.bounding_box()
    assert 0 <= card["x"] < card["x"] + card["width"] <= 375
    boxes = {c: row.locator(f"td.{c}").bounding_box() for c in ("picture", "line_snr", "outliers")}
    assert boxes["picture"]["width"] > 0.85 * card["width"]
    assert boxes["picture"]["y"] + boxes["picture"]["height"] <= boxes["line_snr"]["y"]
    assert boxes["line_snr"]["y"] < boxes["outliers"]["y"]  # one under the other, not beside
    label = "getComputedStyle(e, '::before').content"
    assert row.locator("td.line_snr").evaluate(f"e => {label}") == '"Line S/N"'
    page.get_by_label("Sort by").select_option("Line S/N")
    assert shown(page) == [10, 2, 120, 33, 34]
    page.get_by_role("button", name="Reverse the order").click()
    assert shown(page) == [120, 2, 10, 33, 34]


def test_cards_with_large_pictures(opened):
    page = opened()
    widths = "e => [e.naturalWidth, e.clientWidth]"
    image = page.locator("tr[data-title=s000000002] img")
    small = image.evaluate(widths)
    page.get_by_role("button", name="Large pictures").click()
    page.wait_for_function("document.querySelector('tbody img').naturalWidth === 640")
    large = image.evaluate(widths)
    assert (small[0], large[0]) == (32, 640)
    assert large[1] > 2 * small[1]
    page.get_by_role("button", name="Large pictures").click()
    assert heading(page, "Source").is_visible()


@pytest.mark.parametrize("width", [1280, 375])
def test_without_javascript(opened, width):
    page = opened(width, java_script_enabled=False)
    assert shown(page) == [2, 10, 33, 34, 120]
    assert not page.locator(".controls").is_visible()
    assert not page.get_by_role("dialog").is_visible()
    assert "no WCS" in page.locator("tr.problem").inner_text()
    assert page.get_by_text("scalexy").is_visible()
    row = page.locator("tr[data-title=s000000010]")
    assert "1 warning" in row.inner_text()
    assert row.get_by_role("link", name="cube of s000000010").get_attribute("href") == (
        "./jw02136-o001_s000000010_nirspec_f100lp-g140h_s3d.fits"
    )
    row.locator("a.picture").click()
    assert page.url.endswith("/jw02136-o001_s000000010_nirspec_f100lp-g140h_quicklook.png")


def test_contrast(opened):
    """Texts stand out from what is behind them: 4.5 to 1, as WCAG 2.2 level AA asks."""
    page = opened()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        ratios = page.evaluate(CONTRAST)
        assert len(ratios) > 50
        assert min(ratios, key=lambda found: found[0])[0] >= 4.5
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"


CONTRAST = """() => {
  const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
  const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const colour = numbers(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const e of document.querySelectorAll("header *, main *")) {
    const own = Array.from(e.childNodes).some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || e.closest(".unseen")) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(behind(e))];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.tagName, e.className]);
  }
  return found;
}"""
