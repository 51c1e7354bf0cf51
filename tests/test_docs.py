"""The documentation: it builds without a warning, needs no network, and its tables are true."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from astropy.table import Table

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

sys.path[:0] = [str(DOCS / "_ext"), str(DOCS / "figures")]

import footprint  # noqa: E402
import generated  # noqa: E402
from common import read_source  # noqa: E402

RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.ecsv"))
ASSETS = {("link", "href"), ("script", "src"), ("img", "src"), ("source", "src"), ("iframe", "src")}


class Page(HTMLParser):
    """What a page of HTML fetches, links to, and can be linked at."""

    def __init__(self, text):
        super().__init__()
        self.fetched, self.links, self.anchors = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if attrs.get("id"):
            self.anchors.add(attrs["id"])
        for element, name in ASSETS:
            if tag == element and attrs.get(name):
                self.fetched.append(attrs[name])
        if tag == "a" and attrs.get("href"):
            self.links.append(attrs["href"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The built documentation: its folder, what the build said, and its processor time, s."""
    folder = tmp_path_factory.mktemp("docs")
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d",
         folder / "trees", DOCS, folder / "html"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    after = os.times()
    seconds = after.children_user + after.children_system
    seconds -= before.children_user + before.children_system
    return folder / "html", done, seconds


@pytest.fixture(scope="module")
def pages(built):
    """All pages, by path."""
    return {path: Page(path.read_text(encoding="utf-8")) for path in built[0].rglob("*.html")}


def test_builds_without_a_warning(built):
    """A page in no table of contents, a link to nowhere, a docstring that cannot be read: none."""
    _, done, seconds = built
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stderr == ""
    assert seconds < 90  # 20 where nothing else runs


def test_every_page_is_built(pages):
    """Each Markdown file has its page, and the API has what is public."""
    made = {path.stem for path in pages}
    assert {path.stem for path in DOCS.rglob("*.md")} <= made
    public = next(page for path, page in pages.items() if path.stem == "public")
    import msa3d_steps

    names = {f"msa3d_steps.{name}" for name in msa3d_steps.__all__ if name[0] != "_"}
    errors = {"msa3d_steps.InputError", "msa3d_steps.IncompleteError"}  # where they are defined
    assert names - errors <= public.anchors
    assert {"msa3d_steps.errors.InputError", "msa3d_steps.errors.IncompleteError"} <= public.anchors


def test_nothing_is_fetched_from_a_network(built, pages):
    """Style sheets, scripts, images and fonts are beside the pages."""
    html = built[0]
    for path, page in pages.items():
        for target in page.fetched:
            assert not urlsplit(target).scheme or target.startswith("data:"), (path, target)
            assert (path.parent / unquote(urlsplit(target).path)).exists(), (path, target)
    for path in html.rglob("*.css"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", text), path


def test_links_work_offline(pages):
    """A link that is not to another site leads to a file and a place in it."""
    for path, page in pages.items():
        for target in page.links:
            parts = urlsplit(target)
            if parts.scheme:
                continue
            file = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert file.exists(), (path.name, target)
            if parts.fragment and file in pages:
                assert unquote(parts.fragment) in pages[file].anchors, (path.name, target)


def test_formulae_are_written(pages):
    """As MathML; nothing is left of the TeX they are written in."""
    (path,) = (path for path in pages if path.stem == "algorithm")
    text = path.read_text(encoding="utf-8")
    assert text.count("<math") >= 3
    assert "\\frac" not in text


@pytest.mark.parametrize("path", generated.PAGES, ids=lambda path: path.stem)
def test_tables_are_those_of_code_and_data(path):
    """Where this fails, ``make docs`` writes them anew."""
    text = path.read_text(encoding="utf-8")
    assert generated.fill(text, generated.above_of(path)) == text
    assert text.count("<!-- table: ") == text.count("<!-- end of table -->")


def test_each_step_has_its_table():
    """Of parameters: of all steps, with all that their specifications have."""
    from msa3d_steps.integration import STEPS

    text = "".join(path.read_text(encoding="utf-8") for path in generated.PAGES)
    for _, alias, is_pipeline in STEPS:
        if not is_pipeline or alias == "msa3d":
            assert f"<!-- table: parameters {alias} -->" in text, alias
    rows = {row[0]: row for row in generated.rows_of_parameters("msa3d_cube")}
    assert rows["scalexy"][1:3] == ("number, at least 0", "0")
    assert rows["coord_system"][1:3] == ("`skyalign`, `msaalign`, `world`", "`skyalign`")
    assert rows["linear_wave"][1:3] == ("yes or no", "")
    assert rows["wavemin"][3].startswith("Least wavelength, um")


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_results_say_where_they_are_from(path):
    """Each is in a page, names its command, and the script is there."""
    table = Table.read(path)
    assert len(table)
    script = re.search(r"benchmarks/\w+\.py", table.meta["command"])
    assert (script and (ROOT / script[0]).exists()) or "source" in table.colnames
    mark = f"<!-- table: results {path.stem} -->"
    assert any(mark in page.read_text(encoding="utf-8") for page in generated.PAGES)


def test_figure_shows_what_the_cube_builder_does(survey_folder):
    """The shares of the pixel in the figure: of all its light, and where its footprint is.

    The field is larger than the slit, and the range of wavelengths than the bandpass: the shares
    add up to 1. Of 1000 x 1000 points in the footprint each spaxel has its share to 0.002, and of
    those in the bandpass each channel.
    """
    source = read_source(survey_folder("grating"))
    cutout = next(c for c in source.cutouts if c.detector == "NRS1")
    measured = footprint.measure(cutout)
    assert measured.shares.sum() == pytest.approx(1, abs=1e-4)
    corner, across, _, along = measured.rows[measured.pixel]
    u, v = np.mgrid[:1000, :1000] / 1000 + 5e-4
    points = corner + u[..., None] * (across - corner) + v[..., None] * (along - corner)
    ny, nx = measured.shares.shape[1:]
    x, y = np.moveaxis(points, -1, 0)
    counts, *_ = np.histogram2d(
        y.ravel(), x.ravel(), [np.arange(ny + 1) - 0.5, np.arange(nx + 1) - 0.5]
    )
    np.testing.assert_allclose(measured.shares.sum(axis=0), counts / counts.sum(), atol=2e-3)
    low, high = measured.wavelengths[:, measured.pixel]
    counts, _ = np.histogram(low + (high - low) * u[:, 0], measured.edges)
    np.testing.assert_allclose(measured.shares.sum(axis=(1, 2)), counts / 1000, atol=2e-3)


def test_figures_are_small():
    """And each that code draws is on a page."""
    text = "".join(path.read_text(encoding="utf-8") for path in generated.PAGES)
    for name in ("footprint", "pattern", "correlation", "channels"):
        assert (DOCS / "images" / f"{name}.png").stat().st_size < 150_000, name
        assert f"images/{name}.png" in text, name
