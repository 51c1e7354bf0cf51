"""Metafiles as files: the copy, its name, and what is in its way."""

import gzip
import re
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from astropy.io import fits
from disease import infect

from msa3d_steps.errors import InputError
from msa3d_steps.relabel.metafile import is_repaired, repair_file
from msa3d_steps.simulate.metafile import Slitlet, write_metafile

SLITLETS = (
    Slitlet(7, 2, 295, 33, 5, 8512, "2136_8512", "8512", 150.12, 2.3),
    Slitlet(9, 3, 11, 120, 3, 123456, "2136_123456", "blob", 150.2, 2.4),
)
COPY = "x_relabel_msa.fits"


@pytest.fixture
def ill(tmp_path):
    """An ill metafile in a folder of its own; the working folder is another one."""
    folder = tmp_path / "input"
    folder.mkdir()
    (tmp_path / "out").mkdir()
    healthy = write_metafile(tmp_path / "healthy_msa.fits", SLITLETS, 3, 3)
    return infect(healthy, folder / "x_msa.fits")


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_all_else_is_kept(ill, out):
    """Other extensions, keywords, units and columns; the user's file."""
    with fits.open(ill, mode="update", checksum=True) as hdus:
        hdus["SHUTTER_INFO"].header["OPERATOR"] = "somebody"
        hdus["SHUTTER_INFO"].columns["estimated_source_in_shutter_x"].unit = "pitch"
        hdus[0].header["HISTORY"] = "as it was"
    before = ill.read_bytes()
    copy = repair_file(ill, out).path
    assert copy == out / COPY
    assert ill.read_bytes() == before
    assert [p.name for p in ill.parent.iterdir()] == ["x_msa.fits"]
    with fits.open(copy, checksum=True) as new, fits.open(ill) as old:
        assert [hdu.name for hdu in new] == [hdu.name for hdu in old]
        assert np.array_equal(new["SHUTTER_IMAGE"].data, old["SHUTTER_IMAGE"].data)
        for name, widened in (("SHUTTER_INFO", ["source_id"]), ("SOURCE_INFO", [])):
            assert new[name].columns.names == old[name].columns.names
            assert new[name].columns.units == old[name].columns.units
            changed = [
                a.name for a, b in zip(new[name].columns, old[name].columns, strict=True)
                if a.format != b.format
            ]  # fmt: skip
            assert changed == widened
        assert new["SHUTTER_INFO"].header["OPERATOR"] == "somebody"
        for name in ("ra", "dec", "source_name"):
            assert np.array_equal(new["SOURCE_INFO"].data[name], old["SOURCE_INFO"].data[name])
        header = new[0].header
        assert (header["FILENAME"], header["ORIGMSA"]) == (COPY, "x_msa.fits")
        assert str(header["HISTORY"]) == "as it was"
        new.verify("exception")


def test_twice_is_once(ill, out, tmp_path):
    copy = repair_file(ill, out).path
    content, time = copy.read_bytes(), copy.stat().st_mtime_ns
    assert repair_file(ill, out).path == copy
    assert (copy.read_bytes(), copy.stat().st_mtime_ns) == (content, time)
    # the same bytes elsewhere, and no copy of a copy
    (tmp_path / "other").mkdir()
    assert repair_file(ill, tmp_path / "other").path.read_bytes() == content
    report = repair_file(copy, tmp_path)
    assert (report.path, report.repairs) == (copy, ())
    assert not (tmp_path / COPY).exists()


def test_dither_points_are_in_the_name(ill, out):
    """What an exposure lacks makes another file, the same for all that lack it."""
    first = repair_file(ill, out, {3: (4, 9)}).path
    assert first == out / "x_relabel-3-9_msa.fits"
    content = first.read_bytes()
    assert repair_file(ill, out, {3: (9, 9)}).path.read_bytes() == content
    assert repair_file(ill, out, {3: (12, 9)}).path == out / "x_relabel-3-12_msa.fits"
    assert repair_file(ill, out, {3: (3, 9)}).path == out / COPY
    assert set(fits.getdata(first, 2)["dither_point_index"]) == set(range(1, 10))
    assert set(fits.getdata(out / COPY, 2)["dither_point_index"]) == {1, 2, 3}
    # a copy that lacks dither points gives another copy of the original
    longer = repair_file(out / COPY, out, {3: (9, None)}).path
    assert longer == first
    assert fits.getval(longer, "ORIGMSA") == "x_msa.fits"


def test_other_names(ill, out, tmp_path):
    (tmp_path / "shutters.fits").write_bytes(ill.read_bytes())
    assert repair_file(tmp_path / "shutters.fits", out).path.name == "shutters_relabel.fits"
    (tmp_path / "y_msa.fits.gz").write_bytes(gzip.compress(ill.read_bytes()))
    assert repair_file(tmp_path / "y_msa.fits.gz", out).path.name == "y_relabel_msa.fits"
    assert repair_file(ill, out / "mine.fits").path == out / "mine.fits"
    (tmp_path / "metafile").write_bytes(ill.read_bytes())
    assert repair_file(tmp_path / "metafile", out).path.name == "metafile_relabel.fits"


def test_many_processes_at_once(ill, out):
    with ProcessPoolExecutor(4) as pool:
        reports = list(pool.map(repair_file, [ill] * 12, [out] * 12))
    assert {report.path for report in reports} == {out / COPY}
    assert [p.name for p in out.iterdir()] == [COPY]
    assert repair_file(out / COPY, out).repairs == ()


def test_a_users_file_is_not_replaced(ill, out):
    (out / COPY).write_bytes(ill.read_bytes())
    assert not is_repaired(out / COPY)
    with pytest.raises(InputError, match="in the way of the repaired MSA metafile"):
        repair_file(ill, out)
    with pytest.raises(InputError, match="in the way"):
        repair_file(ill, ill)
    assert (out / COPY).read_bytes() == ill.read_bytes()


def test_failure_leaves_nothing(ill, out, monkeypatch):
    def fail(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(InputError, match=rf"{COPY}: cannot be written \(No space left"):
        repair_file(ill, out)
    assert list(out.iterdir()) == []


def spoil(path, how):
    if how == "absent":
        path.unlink()
    elif how == "text":
        path.write_text("no FITS at all")
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-4000])
    else:
        with fits.open(path) as hdus:
            if how == "extension":
                del hdus["SHUTTER_INFO"]
            else:
                hdus["SOURCE_INFO"].columns.del_col("ra")
            hdus.writeto(path, overwrite=True)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("absent", "is not there; download"),
        ("text", "is no MSA metafile in FITS"),
        ("cut", "is no MSA metafile in FITS"),
        ("extension", "has no extension SHUTTER_INFO"),
        ("column", "has no column ra in SOURCE_INFO"),
    ],
)
def test_what_is_no_metafile(ill, out, how, words):
    spoil(ill, how)
    with pytest.raises(InputError, match=re.escape(str(ill)) + ".*" + words):
        repair_file(ill, out)
    assert list(out.iterdir()) == []


def test_unknown_metadata_id(ill, out):
    with pytest.raises(InputError, match="no shutters for metadata id 8"):
        repair_file(ill, out, {8: (1, 3)})
    assert list(out.iterdir()) == []
