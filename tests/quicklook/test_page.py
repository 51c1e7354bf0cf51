"""The page as a file: what is in it, what stays of the one before."""

import logging
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from pages import NASTY, PRODUCT, entry

from msa3d_steps.quicklook.page import write_page
from msa3d_steps.quicklook.page.columns import number

TIMES = "\N{MULTIPLICATION SIGN}"


class Content(HTMLParser):
    """The elements of a page: tags with their attributes, cells and links."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.rows, self.cell = [], {}, None
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if tag == "tr":
            self.row = self.rows.setdefault(attributes.get("data-title"), {})
        elif tag in ("td", "th") and "data-label" in attributes:
            self.cell = self.row.setdefault(attributes["class"], {"text": [], **attributes})
        elif tag == "img" and self.cell:
            self.cell["image"] = attributes["src"]

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        if self.cell:
            self.cell["text"].append(data)

    def titles(self):
        return [title for title in self.rows if title]

    def links(self):
        return {a["href"] for tag, a in self.tags if tag == "a" and not a["href"].startswith("#")}


def test_rows_say_what_the_entries_say(tmp_path):
    path = write_page(tmp_path / "index.html", [entry(tmp_path, 12)], PRODUCT)
    row = Content(path).rows["s000000012"]
    assert {key: cell["text"] for key, cell in row.items()} == {
        "picture": [],
        "source": ["s000000012", "2136_12", "cube", " ", "line maps"],
        "position": ["214.91200", "+52.80000"],
        "grating": ["F100LP-", "G140H", "0.97\N{EN DASH}1.89\N{NO-BREAK SPACE}µm"],
        "field": [f"2.0″ {TIMES} 4.0″", f"20 {TIMES} 40"],
        "line": ["[OIII]\N{NO-BREAK SPACE}5007", "1.2345\N{NO-BREAK SPACE}µm"],
        "line_snr": ["10.0"],
        "redshift": ["1.4660"],
        "continuum_snr": ["1.00"],
        "used": ["126"],
        "rejected": ["0"],
        "outliers": ["0.25%"],  # 250 of 100 000
        "registration": ["as pointed"],
        "notes": [],
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (np.nan, ""),
        (np.inf, ""),
        (0.0, "0.00"),
        (-3.2, "\N{MINUS SIGN}3.20"),
        (1234.5, "1234"),
    ],
)
def test_numbers(value, text):
    assert number(value) == text


def test_what_is_unknown_is_empty_and_sorts_nowhere(tmp_path):
    bare = replace(
        entry(tmp_path, 1), line="", line_snr=np.float32(np.nan), redshift=None, outliers=-1,
        ra=None, field=(), continuum_snr=np.float32(2.5), thumbnail="", picture="", maps="",
        exposures_rejected=None,
    )  # fmt: skip
    path = write_page(tmp_path / "index.html", [bare], PRODUCT)
    row = Content(path).rows["s000000001"]
    for key in (
        "line", "line_snr", "redshift", "rejected", "outliers", "position", "field", "picture"
    ):  # fmt: skip
        assert row[key]["text"] == []
        assert "data-value" not in row[key]
    assert float(row["continuum_snr"]["data-value"]) == 2.5
    assert '"line_snr": null' in path.read_text()


@pytest.mark.parametrize(
    ("outliers", "text"), [(0, "0.00%"), (4, "<0.01%"), (5, "0.01%"), (300, "0.30%")]
)
def test_few_outliers_are_not_none(tmp_path, outliers, text):
    """Of 100 000 pixels."""
    path = write_page(tmp_path / "index.html", [entry(tmp_path, 1, outliers=outliers)], PRODUCT)
    assert "".join(Content(path).rows["s000000001"]["outliers"]["text"]) == text


def test_a_line_without_a_name_says_its_wavelength_once(tmp_path):
    unknown = entry(tmp_path, 1, line="line at 1.2345 um", redshift=None)
    path = write_page(tmp_path / "index.html", [unknown], PRODUCT)
    cell = Content(path).rows["s000000001"]["line"]
    assert "".join(cell["text"]).count("1.2345") == 1


def test_nothing_comes_from_elsewhere(tmp_path):
    path = write_page(tmp_path / "index.html", [entry(tmp_path, 1)], PRODUCT)
    content = Content(path)
    sources = [a["src"] for _, a in content.tags if "src" in a]
    assert all(s.startswith("data:") for s in sources)
    assert all(href.startswith("./") for href in content.links() - {""})
    assert not re.search(r"https?:|//[a-z]|@import", path.read_text())


def test_names_are_text_whatever_they_are(tmp_path):
    odd = entry(
        tmp_path, 1, name=NASTY, cube="javascript:#50% <x>?.fits", maps="", registration=NASTY,
        line=NASTY, grating=NASTY, problems=(NASTY,), warnings=(NASTY,),
    )  # fmt: skip
    path = write_page(
        tmp_path / "index.html", [odd], NASTY, {NASTY: {NASTY: NASTY}}, {NASTY: NASTY},
        problems=[NASTY],
    )  # fmt: skip
    content = Content(path)
    plain = Content(write_page(tmp_path / "plain.html", [entry(tmp_path, 2)], PRODUCT))
    for tag in ("script", "b"):
        assert sum(t == tag for t, _ in content.tags) == sum(t == tag for t, _ in plain.tags)
    assert "".join(content.rows["s000000001"]["registration"]["text"]) == NASTY
    assert "./javascript%3A%2350%25%20%3Cx%3E%3F.fits" in content.links()
    again = Content(write_page(path, [entry(tmp_path, 2)], PRODUCT))
    assert "".join(again.rows["s000000001"]["registration"]["text"]) == NASTY


def test_rows_of_other_cubes_stay(tmp_path):
    entries = [entry(tmp_path, n, warnings=(f"of {n}",)) for n in (2, 10, 33)]
    path = write_page(tmp_path / "index.html", entries, PRODUCT)
    before = Content(path).rows
    (tmp_path / entries[2].cube).unlink()
    (tmp_path / entries[0].maps).unlink()
    new = replace(entries[1], line_snr=77.0, warnings=())
    assert write_page(path, [new], PRODUCT) == path
    content = Content(path)
    assert content.titles() == ["s000000002", "s000000010"]
    old, made = content.rows["s000000002"], content.rows["s000000010"]
    assert made["line_snr"]["text"] == ["77.0"]
    assert old["picture"]["image"] == before["s000000002"]["picture"]["image"]
    assert old["picture"]["image"].endswith(entries[0].thumbnail)
    assert "".join(old["notes"]["text"]) == "1 warningof 2"
    assert "of the run of" in "".join(old["source"]["text"])
    assert "of the run of" not in "".join(made["source"]["text"])
    assert f"./{entries[0].maps}" not in content.links()
    assert {f"./{entries[0].cube}", f"./{new.cube}", f"./{new.maps}"} <= content.links()


def test_the_last_row_keeps_its_small_picture(tmp_path):
    """An image stands below the table, too."""
    last = entry(tmp_path, 9)
    path = write_page(tmp_path / "index.html", [last], PRODUCT)
    write_page(path, [entry(tmp_path, 1)], PRODUCT)
    image = Content(path).rows["s000000009"]["picture"]["image"]
    assert image == f"data:image/png;base64,{last.thumbnail}"


def test_what_the_run_told_of_a_cube_stays_when_it_is_looked_at_again(tmp_path):
    """Exposures that were rejected, and warnings; those of an earlier look do not."""
    of_run = entry(tmp_path, 1, exposures_rejected=3, warnings=("of the run",))
    path = write_page(tmp_path / "index.html", [of_run], PRODUCT)
    for seen in (("no line there", "of the run"), ("too faint",), ()):
        again = entry(tmp_path, 1, exposures_rejected=None, warnings=seen)
        write_page(path, [again], PRODUCT)
        row = Content(path).rows["s000000001"]
        assert row["rejected"]["text"] == ["3"]
        told = [text for text in row["notes"]["text"] if text[0] not in "12"]
        assert told == list(dict.fromkeys(("of the run", *seen)))
    write_page(path, [entry(tmp_path, 1, exposures_rejected=0)], PRODUCT)
    row = Content(path).rows["s000000001"]
    assert (row["rejected"]["text"], row["notes"]["text"]) == (["0"], [])


def test_a_source_without_cube_stays_until_it_is_tried_again(tmp_path):
    failed = entry(tmp_path, 5, cube="", maps="", picture="", thumbnail="", problems=("no WCS",))
    path = write_page(tmp_path / "index.html", [failed], PRODUCT)
    write_page(path, [entry(tmp_path, 6)], PRODUCT)
    assert Content(path).titles() == ["s000000005", "s000000006"]
    assert "<li>no WCS<div>" in path.read_text()
    write_page(path, [entry(tmp_path, 5)], PRODUCT)
    assert Content(path).titles() == ["s000000005", "s000000006"]
    assert "no WCS" not in path.read_text()


def test_names_sort_by_their_numbers(tmp_path):
    titles = ["1345_933", "1345_1001", "b000000003", "s000000012", "1345_9"]
    entries = [entry(tmp_path, i, title=t) for i, t in enumerate(titles)]
    content = Content(write_page(tmp_path / "index.html", entries, PRODUCT))
    assert content.titles() == ["1345_9", "1345_933", "1345_1001", "b000000003", "s000000012"]


def test_a_file_of_others_is_left_alone(tmp_path, caplog):
    path = tmp_path / "index.html"
    path.write_text("<html><body>my own</body></html>")
    with caplog.at_level(logging.WARNING):
        found = write_page(path, [entry(tmp_path, 1)], PRODUCT)
    assert found == tmp_path / f"{PRODUCT}_index.html"
    assert path.read_text() == "<html><body>my own</body></html>"
    assert f"left alone: see {found.name}" in caplog.text
    assert write_page(path, [entry(tmp_path, 2)], PRODUCT) == found
    assert Content(found).titles() == ["s000000001", "s000000002"]
    found.write_text("mine, too")
    assert write_page(path, [entry(tmp_path, 1)], PRODUCT).name == f"{PRODUCT}_index_2.html"
    assert found.read_text() == "mine, too"


def test_written_whole_or_not_at_all(tmp_path):
    path = write_page(tmp_path / "index.html", [entry(tmp_path, 1)], PRODUCT)
    before, names = path.read_bytes(), sorted(p.name for p in tmp_path.iterdir())
    broken = "\N{GRINNING FACE}\ud800"  # half of a character cannot be written
    with pytest.raises(UnicodeEncodeError):
        write_page(path, [entry(tmp_path, 1)], PRODUCT, versions={"x": broken})
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == names


def test_rows_that_cannot_be_read_are_left_out(tmp_path, caplog):
    path = write_page(tmp_path / "index.html", [entry(tmp_path, 1)], PRODUCT)
    path.write_text(path.read_text().replace('"entry":', "entry:"))
    with caplog.at_level(logging.WARNING):
        write_page(path, [entry(tmp_path, 2)], PRODUCT)
    assert "the rows of earlier runs cannot be read" in caplog.text
    assert Content(path).titles() == ["s000000002"]


def test_summary_and_sections(tmp_path):
    many = [
        entry(tmp_path, n, problems=("the same",) * (n < 15), warnings=("careful",) * (n == 20))
        for n in range(1, 21)
    ]  # fmt: skip
    path = write_page(
        tmp_path / "index.html", many, PRODUCT,
        {"msa3d_outlier": {"snr": 5.0}, "msa3d_cube": {"slit_frac": 1.0, "scalexy": 0.08}},
        {"msa3d-steps": "1.2.3", "jwst": "3.0"},
        changed={"msa3d_cube": ["scalexy"]}, problems=["x_cal.fits: cut short"], exposures=63,
    )  # fmt: skip
    text = path.read_text()
    summary = re.sub("<[^>]*>", "", text.partition('class="summary">')[2].partition("</ul>")[0])
    assert [line for line in summary.splitlines() if line][:4] == [
        "20 sources", "14 with problems", "1 with warnings", "63 exposures",
    ]  # fmt: skip
    assert summary.endswith("msa3d-steps 1.2.3\n")
    assert text.count("<li>the same<div>") == 1  # once for its 14 sources
    assert text.index("<li>x_cal.fits: cut short</li>") < text.index("<li>the same<div>")
    assert text.index(">scalexy <small>changed") < text.index(">slit_frac</th>")


def test_a_page_without_rows(tmp_path):
    path = write_page(tmp_path / "index.html", [], PRODUCT)
    assert "<b>0 sources</b>" in path.read_text()
