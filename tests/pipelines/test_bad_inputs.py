"""Inputs that cannot be used, or only in part: what can be made is made, the rest has a name."""

import os
import shutil
from collections import namedtuple

import numpy as np
import pytest
from commands import strun_here
from pipeline_runs import (
    LABELS,
    NARROW,
    PLACE,
    PRODUCT,
    assert_same_cubes,
    association,
    bits,
    cubes_in,
    files,
    finished,
    linked,
    replaced,
    strun,
    times_of,
    truncated,
    window,
)

from msa3d_steps import IncompleteError, InputError, MSA3DSpec3Pipeline
from msa3d_steps.pipelines import limits

# stdatamodels leaves a file open that it cannot read
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SERIAL = {"maximum_cores": "none", "save_results": True, "steps": NARROW}


@pytest.fixture(scope="module")
def good(simulated, tmp_path_factory):
    """The cubes of inputs without fault."""
    folder = tmp_path_factory.mktemp("good")
    asn = association(tmp_path_factory.mktemp("asn"), files(simulated, "cal"))
    MSA3DSpec3Pipeline.call(asn, output_dir=str(folder), **SERIAL)
    return folder


@pytest.fixture
def inputs(simulated, tmp_path):
    return linked(simulated, tmp_path / "input")


def without_pixels(number):
    """Make a change of a cal file: no valid pixel in any slit of a source."""

    def change(hdus):
        for hdu in hdus:
            if hdu.name == "SCI" and hdu.header["SOURCEID"] == number:
                hdu.data[:] = np.nan

    return change


def mend(link, simulated):
    link.unlink(missing_ok=True)
    link.symlink_to(simulated / link.name)


def test_everything_else_is_made(simulated, good, inputs, tmp_path, capsys):
    """A truncated file, one that is not there, a source without a valid pixel; then mended."""
    cals, out = files(inputs.parent, "cal"), tmp_path / "out"
    truncated(cals[1])
    cals[6].unlink()
    for path in (cals[0], *cals[2:6], cals[7]):
        replaced(path, without_pixels(2))
    arguments = ("msa3d_spec3", inputs, "--maximum_cores=2", f"--output_dir={out}", *window())
    status, said = finished(strun(simulated, *arguments))
    assert status == 1
    assert "Traceback" not in said
    summary = said[said.index("What is missing and why:") :]
    lines = [line for line in summary.splitlines() if line.startswith("  (")]
    assert len(lines) == 3
    (line,) = (line for line in lines if cals[1].name in line)
    assert "truncated" in line
    (line,) = (line for line in lines if cals[6].name in line)
    assert "there is no such file" in line
    (line,) = (line for line in lines if "slit 2" in line)
    assert cals[0].name in line
    assert "and 3 more files" in line
    assert set(cubes_in(out)) == {LABELS[0], LABELS[2]}
    assert not list((out / PLACE / "unfinished").iterdir())
    table = said[said.index("source      name") :]
    (row,) = (line.split() for line in table.splitlines() if line.startswith(LABELS[1]))
    assert row[:5] == [LABELS[1], "9999_2", "none", "0", "6"]

    # mended
    for path in cals:
        mend(path, simulated)
    assert strun_here(*arguments) == 0
    said = capsys.readouterr()
    assert "source      name" in said.out + said.err
    assert "missing" not in said.out + said.err
    assert_same_cubes_by_data(out, good)


def assert_same_cubes_by_data(folder, other):
    """Compare all data; keys tell when files were changed, and so may differ."""
    ours, theirs = cubes_in(folder), cubes_in(other)
    assert set(ours) == set(theirs)
    for label in ours:
        mine, yours = bits(ours[label]), bits(theirs[label])
        assert {hdu: data for hdu, (data, _) in mine.items()} == {
            hdu: data for hdu, (data, _) in yours.items()
        }


def call(inputs, out, **options):
    return MSA3DSpec3Pipeline.call(inputs, output_dir=str(out), **SERIAL | options)


def changed(out, before):
    """Name the parts whose reports are new."""
    after = times_of(out, f"{PLACE}/reports/*.json")
    return {name.removesuffix(".json") for name in after if after[name] != before.get(name)}


def test_only_what_was_missing_is_done(simulated, good, inputs, tmp_path):
    """One truncated file; when it is mended, it alone is read, and its cubes are built again."""
    cals, out = files(inputs.parent, "cal"), tmp_path / "out"
    truncated(cals[1])
    with pytest.raises(IncompleteError) as raised:
        call(inputs, out)
    (problem,) = raised.value.problems
    assert problem.file == str(cals[1])
    assert "truncated" in problem.message
    assert list(raised.value.result.paths) == LABELS
    assert [len(cube.exposure_table) for cube in raised.value.result] == [7, 7, 7]
    before = times_of(out, f"{PLACE}/reports/*.json")
    # still as bad: tried again, said again, nothing built again
    with pytest.raises(IncompleteError, match="truncated"):
        call(inputs, out)
    assert changed(out, before) == {cals[1].stem}
    before = times_of(out, f"{PLACE}/reports/*.json")
    mend(cals[1], simulated)
    assert len(call(inputs, out)) == 3
    assert changed(out, before) == {cals[1].stem, *LABELS}
    assert_same_cubes(out, good)


def test_slit_without_pixels_is_left_out(simulated, inputs, tmp_path):
    """One slit of one file: the cube is made of the others, and the slit is named."""
    cals = files(inputs.parent, "cal")
    replaced(cals[3], without_pixels(3))
    with pytest.raises(IncompleteError) as raised:
        call(inputs, tmp_path / "out")
    (problem,) = raised.value.problems
    assert (problem.file, problem.slit) == (cals[3].name, "3")
    summary = raised.value.result.summary
    assert list(summary["exposures_used"]) == [8, 8, 7]
    assert list(summary["exposures_rejected"]) == [0, 0, 1]
    assert list(summary["errors"]) == [0, 0, 1]


def test_nothing_can_be_made(inputs, tmp_path):
    for path in files(inputs.parent, "cal"):
        truncated(path)
    with pytest.raises(InputError, match=r"no cube could be made: .*truncated"):
        call(inputs, tmp_path / "out")
    assert not cubes_in(tmp_path / "out")


def test_cubes_of_no_source_are_not_wanted_again(inputs, tmp_path):
    """A source that is asked for and is nowhere costs the others nothing."""
    with pytest.raises(IncompleteError, match="there is no source 9; there are: s000000001"):
        call(inputs, tmp_path / "out", sources=["9", "2"])
    assert set(cubes_in(tmp_path / "out")) == {LABELS[1]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no association"),
        ('{"products": []}', "is no association of products"),
        ('{"products": [{"name": "x", "members": []}]}', "no science members"),
        (None, "cannot be read"),
    ],
)
def test_bad_association(tmp_path, content, said):
    path = tmp_path / "asn.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=said) as raised:
        call(path, tmp_path / "out")
    assert raised.value.problem.file == str(path)
    assert not list(tmp_path.glob("out/*"))


def test_files_of_one_name_in_two_folders(simulated, tmp_path):
    """Both are read; the second is the same exposure, which does not count twice."""
    (tmp_path / "other").mkdir()
    first = files(simulated, "cal")[0]
    shutil.copy(first, tmp_path / "other" / first.name)
    cubes = call([str(first), str(tmp_path / "other" / first.name)], tmp_path / "out")
    assert [len(cube.exposure_table) for cube in cubes] == [1, 1, 1]
    reports = tmp_path.glob("out/*/reports/jw*.json")
    assert sorted(p.name for p in reports) == [f"{first.stem}+.json", f"{first.stem}.json"]


def test_output_folder_that_cannot_be(inputs, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"output folder .* cannot be made .*--output_dir"):
        call(inputs, tmp_path / "file" / "out")


@pytest.mark.skipif(os.geteuid() == 0, reason="everything is writable")
def test_output_folder_that_is_not_writable(inputs, tmp_path):
    out = tmp_path / "out"
    out.mkdir(mode=0o555)
    with pytest.raises(InputError, match="is not writable"):
        call(inputs, out)


def test_disk_that_is_too_small(inputs, tmp_path, monkeypatch):
    """Said before any work."""
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10**7, 10**7))
    with pytest.raises(InputError, match=r"needs about \d\.\d GB and the disk has 0\.0 GB; make"):
        call(inputs, tmp_path / "out")
    assert not list(tmp_path.glob("out/*/reports/*"))
    assert not cubes_in(tmp_path / "out")


def test_too_little_memory_means_fewer_processes(inputs, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(limits, "WORTHWHILE", 0)
    caplog.set_level("INFO", "msa3d_steps")
    cubes = call(inputs, tmp_path / "out", maximum_cores="2", memory_limit=0.1, sources=["1"])
    assert len(cubes) == 1
    assert "(not 2, for want of memory)" in caplog.text


def test_product_that_cannot_be_written(inputs, tmp_path):
    """A folder is where a cube should be: that cube is missing, the others are made."""
    blocked = tmp_path / "out" / f"{PRODUCT.format(source_id=LABELS[1])}_s3d.fits"
    blocked.mkdir(parents=True)
    (blocked / "file").touch()
    with pytest.raises(IncompleteError) as raised:
        call(inputs, tmp_path / "out")
    (problem,) = raised.value.problems
    assert LABELS[1] in str(problem)
    assert list(raised.value.result.paths) == [LABELS[0], LABELS[2]]
