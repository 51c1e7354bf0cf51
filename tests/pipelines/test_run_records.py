"""What is written down of a run: keys, reports, the table and the words at its end."""

import dataclasses
import os
from dataclasses import replace

import pytest
from stpipe import Step

from msa3d_steps import MSA3DPipeline
from msa3d_steps.cube.inputs import Selection
from msa3d_steps.cube.provenance import package_versions
from msa3d_steps.errors import Problem
from msa3d_steps.parameters import parameters_of, write_parameters
from msa3d_steps.pipelines.parts import (
    ExposureReport,
    Found,
    PictureReport,
    SourceReport,
    identity,
    key_of,
    read_report,
    write_report,
)
from msa3d_steps.pipelines.summary import (
    problem_lines,
    summary_table,
    summary_text,
    warning_lines,
)

ONE, TWO = ("s000000001", 1, "9_1"), ("s000000002", 2, "9_2")
EXPOSURES = [
    ExposureReport(
        "a_nrs1", "k1", sources=(Found(*ONE, 1, 0), Found(*TWO, 0, 1)), warnings=("odd",)
    ),
    ExposureReport("a_nrs2", "k2", sources=(Found(*ONE, 1, 0),)),
    ExposureReport("b_nrs1", "k3", sources=(Found(*ONE, 1, 1), Found(*TWO, 0, 1))),
]
CUBE = SourceReport(
    "s000000001", "k", "9_1", "x_s3d.fits", (7, 3, 5), 3, 1_234_000, 66_000, 2600,
    warnings=("a", "b"),
)  # fmt: skip


def test_table():
    """A row for each source that is in any file, with a cube or without."""
    table = summary_table(EXPOSURES, [CUBE])
    assert table.colnames == [
        "source", "name", "cube", "exposures_used", "exposures_rejected", "pixels_used",
        "pixels_rejected", "outliers", "warnings", "errors",
    ]  # fmt: skip
    assert [tuple(row) for row in table] == [
        ("s000000001", "9_1", "x_s3d.fits", 3, 1, 1_234_000, 66_000, 2600, 2, 1),
        ("s000000002", "9_2", "none", 0, 2, 0, 0, 0, 0, 2),
    ]


def test_table_without_sources():
    table = summary_table([ExposureReport("a", "k")], [])
    assert len(table) == 0
    assert len(table.colnames) == 10
    assert "source" in summary_text(table, [], [])


def test_cube_that_failed():
    problem = Problem("source s000000001: too large")
    failed = SourceReport("s000000001", "k", "9_1", problems=(problem,))
    (row,) = summary_table(EXPOSURES[:1], [failed])[:1]
    assert (row["cube"], row["exposures_used"], row["errors"]) == ("none", 0, 1)


def test_text():
    reports = [*EXPOSURES, CUBE]
    text = summary_text(summary_table(EXPOSURES, [CUBE]), reports, [Problem("is odd", "a.fits")])
    lines = text.splitlines()
    assert lines[0].split() == ["source", "name", "cube", "exposures", "rejected", "pixels",
                                "rejected", "outliers", "warnings", "errors"]  # fmt: skip
    assert set(lines[1]) == {"-"}
    assert lines[2].split() == [
        "s000000001", "9_1", "x_s3d.fits", "3", "1", "1,234,000", "5.1%", "0.20%", "2", "1"
    ]  # fmt: skip
    assert lines[3].split() == [
        "s000000002", "9_2", "none", "0", "2", "0", "0.0%", "0.00%", "0", "2"
    ]  # fmt: skip
    assert lines[4:7] == [
        "",
        "What was warned of:",
        "  jwst and other packages warned, too: see the logs [a_nrs1, s000000001]",
    ]
    assert lines[7:] == ["", "What is missing and why:", "  (1) a.fits: is odd"]


def test_warnings_are_repeated():
    """Ours word by word, once for all parts; those of others by the parts that gave them."""
    ours = "msa3d_steps.cube.step: two exposures are the same"
    reports = [
        SourceReport("s3", "k", warnings=(ours, "jwst.x: odd")),
        SourceReport("s1", "k", warnings=(f"{ours} (2 times)",)),
        PictureReport("s1-quicklook", "k", warnings=("msa3d_steps.quicklook: all is NaN",)),
    ]
    assert warning_lines(reports) == [
        "  two exposures are the same [s1, s3]",
        "  all is NaN [s1]",
        "  jwst and other packages warned, too: see the logs [s3]",
    ]


def test_text_of_a_run_without_fault():
    text = summary_text(summary_table(EXPOSURES[1:2], [CUBE]), EXPOSURES[1:2], [])
    assert len(text.splitlines()) == 3


def test_problems_are_told_once():
    """One line for a fault in many files; no file twice; few names."""
    problems = [
        Problem("is truncated", "b.fits"),
        *(Problem("no valid pixel", f"{name}.fits", "2") for name in "edcbaa"),
        Problem("there is no source 9"),
        Problem("no valid pixel", "a.fits", "3"),
    ]
    assert problem_lines(problems) == [
        "  (1) b.fits: is truncated",
        "  (2) a.fits, b.fits, c.fits and 2 more files, slit 2: no valid pixel",
        "  (3) there is no source 9",
        "  (4) a.fits, slit 3: no valid pixel",
    ]


FOUND = {
    "file": ExposureReport(
        "a_nrs1", "k1", sources=(Found(*ONE, 1, 0), Found(*TWO, 0, 1)),
        left_out={"s000000003": (3, "9_3")}, problems=(Problem("no pixel", "a_nrs1.fits", "2"),),
        warnings=("odd (3 times)",), seconds=1.5,
    ),
    "cube": dataclasses.replace(CUBE, problems=(Problem("odd"),)),
}  # fmt: skip


@pytest.mark.parametrize("report", FOUND.values(), ids=FOUND)
def test_reports_come_back(tmp_path, report):
    path = tmp_path / "x.json"
    write_report(path, report)
    back = read_report(path, type(report))
    if isinstance(report, ExposureReport):  # JSON has no tuples
        left_out = {label: tuple(entry) for label, entry in back.left_out.items()}
        back = dataclasses.replace(back, left_out=left_out)
    assert back == report
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"name": "a"}', '{"name": "a", "other": 1}'])
def test_report_that_cannot_be_read_is_none(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    assert read_report(path, ExposureReport) is None
    assert read_report(tmp_path / "none.json", ExposureReport) is None


def test_usable():
    """A file that could not be read at all is tried again; one in which there is nothing is not."""
    fault = (Problem("is truncated", "a.fits"),)
    assert not ExposureReport("a", "k", problems=fault).is_usable
    assert ExposureReport("a", "k").is_usable
    assert ExposureReport("a", "k", sources=(Found(*ONE, 0, 1),), problems=fault).is_usable
    assert ExposureReport("a", "k", left_out={"x": (1, "x")}, problems=fault).is_usable


PARAMETERS = {"scalexy": 0.0, "weighting": "drizzle", "steps": {"photom": {"skip": False}}}
KEYS = {
    "same": (("a.fits", 10, 5), Selection(("1",)), PARAMETERS, "0.1"),
    "size": (("a.fits", 11, 5), Selection(("1",)), PARAMETERS, "0.1"),
    "time": (("a.fits", 10, 6), Selection(("1",)), PARAMETERS, "0.1"),
    "name": (("b.fits", 10, 5), Selection(("1",)), PARAMETERS, "0.1"),
    "missing": (("a.fits",), Selection(("1",)), PARAMETERS, "0.1"),
    "source": (("a.fits", 10, 5), Selection(("2",)), PARAMETERS, "0.1"),
    "virtual": (("a.fits", 10, 5), Selection(("1",), virtual=True), PARAMETERS, "0.1"),
    "parameter": (("a.fits", 10, 5), Selection(("1",)), PARAMETERS | {"scalexy": 0.1}, "0.1"),
    "deep": (
        ("a.fits", 10, 5), Selection(("1",)),
        PARAMETERS | {"steps": {"photom": {"skip": True}}}, "0.1",
    ),
    "version": (("a.fits", 10, 5), Selection(("1",)), PARAMETERS, "0.2"),
    "none": (("a.fits", 10, 5), Selection(("1",)), None, "0.1"),
}  # fmt: skip


def test_key_changes_with_everything():
    keys = {name: key_of(*content) for name, content in KEYS.items()}
    assert len(set(keys.values())) == len(KEYS)
    assert all(len(key) == 16 and int(key, 16) >= 0 for key in keys.values())


def test_key_does_not_change_with_order():
    reverse = dict(reversed(PARAMETERS.items()))
    content = ("a.fits", 10, 5), Selection(("1",)), reverse, "0.1"
    assert key_of(*content) == key_of(*KEYS["same"])


def test_identity(tmp_path):
    path = tmp_path / "a.fits"
    assert identity(path) == ("a.fits",)
    path.write_text("one")
    first = identity(path)
    assert first[:2] == ("a.fits", 3)
    assert identity(str(path)) == first
    path.write_text("two")
    os.utime(path, ns=(0, first[2] + 1))
    assert identity(path) != first
    assert identity(tmp_path) != identity(path)


def test_versions_are_those_of_what_makes_results():
    assert {"msa3d-steps", "jwst", "stdatamodels"} <= set(package_versions())


ALL = Selection()
OF_ALL = ExposureReport(
    "x", "k", ALL, (Found("s000000001", 1, "a", 1, 0), Found("s000000002", 2, "b", 1, 0)),
    {"b000000003": (3, "BKG3")},
)  # fmt: skip


@pytest.mark.parametrize(
    ("report", "wanted", "serves"),
    [
        (OF_ALL, ALL, True),
        (OF_ALL, Selection(("2",)), True),
        (OF_ALL, Selection(("b000000003",)), False),
        (OF_ALL, Selection(background=True), False),
        (replace(OF_ALL, problems=(Problem("bad"),)), ALL, True),
        (replace(OF_ALL, problems=(Problem("bad"),)), Selection(("2",)), False),
        (replace(OF_ALL, selection=Selection(("1", "2"))), Selection(("2",)), True),
        (replace(OF_ALL, selection=Selection(("1", "2"))), Selection(("4",)), False),
        (replace(OF_ALL, selection=Selection(("1", "2"))), ALL, False),
    ],
)
def test_what_serves_another_selection(report, wanted, serves):
    assert report.serves(wanted) is serves


def test_report_of_another_selection():
    report = OF_ALL.of(Selection(("b",)))
    assert [found.label for found in report.sources] == ["s000000002"]
    assert set(report.left_out) == {"s000000001", "b000000003"}


def test_parameters_make_the_same_pipeline(tmp_path):
    """The file that a run leaves is a parameter file for such a run."""
    asked = {"keep_cutouts": True, "steps": {"cube": {"scalexy": 0.07}, "spec2": {"steps": {
        "photom": {"override_photom": "mine.fits"}, "barshadow": {"skip": True}}}}}  # fmt: skip
    pipeline = MSA3DPipeline("msa3d", **asked)
    write_parameters(tmp_path / "parameters.asdf", pipeline)
    again = Step.from_config_file(str(tmp_path / "parameters.asdf"))
    assert type(again) is MSA3DPipeline
    assert parameters_of(again) == parameters_of(pipeline)
    assert again.cube.scalexy == 0.07
    assert again.spec2.photom.override_photom == "mine.fits"
