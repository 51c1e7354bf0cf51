"""Cutouts read without models are those that stdatamodels' models give, to the last bit."""

import pickle
from dataclasses import fields, is_dataclass, replace
from io import BytesIO

import asdf
import numpy as np
import pytest
from astropy.io import fits
from scene import as_multislit
from stdatamodels.jwst import datamodels
from stdatamodels.jwst.datamodels import MultiSlitModel

from msa3d_steps import InputError
from msa3d_steps.cube import reading, slits
from msa3d_steps.cube.inputs import Selection
from msa3d_steps.cube.rawasdf import Tree
from msa3d_steps.cube.rawfits import UnusualFileError
from msa3d_steps.cube.reading import cutouts_of_model, read_exposure
from msa3d_steps.cube.store import load_cutouts, load_entries, save_cutouts

EVERYTHING = Selection((), background=True, virtual=True)


@pytest.fixture(scope="module")
def grating_files(simulated):
    return sorted(simulated.glob("*_00001_*_cal.fits"))


@pytest.fixture(scope="module")
def prism_files(survey_folder):
    return sorted(survey_folder("prism").glob("*_00001_*_cal.fits"))


@pytest.fixture
def opened(monkeypatch):
    """Names of the files that stdatamodels opens."""
    names, really_open = [], datamodels.open

    def spy(path):
        names.append(path.name)
        return really_open(path)

    monkeypatch.setattr(slits.datamodels, "open", spy)
    return names


@pytest.fixture
def cal(grating_files, tmp_path):
    """A file that a test may change."""
    path = tmp_path / grating_files[0].name
    path.write_bytes(grating_files[0].read_bytes())
    return path


def by_model(path, selection=EVERYTHING):
    with datamodels.open(path) as model:
        return cutouts_of_model(path.name, model, selection)


def differences(a, b, name="cutout"):
    """Names of what is not the same in two values, to the last bit."""
    if type(a) is not type(b):
        return [name]
    if is_dataclass(a):
        pairs = [(getattr(a, f.name), getattr(b, f.name), f"{name}.{f.name}") for f in fields(a)]
        return [d for pair in pairs for d in differences(*pair)]
    if isinstance(a, np.ndarray):
        same = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    else:
        same = repr(a) == repr(b)
    return [] if same else [name]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert differences(a.cutout, b.cutout) == []
        assert a.source == b.source
        assert list(a.header.items()) == list(b.header.items())
        assert [type(v) for v in a.header.values()] == [type(v) for v in b.header.values()]


def assert_read_alike(path, opened, n_cutouts):
    exposure = read_exposure(path, EVERYTHING)
    assert opened == []
    expected = by_model(path)
    assert len(expected.entries) == n_cutouts
    assert_same(exposure.entries, expected.entries)
    assert exposure.problems == expected.problems
    assert exposure.sources == expected.sources


def edit_asdf(path, old, new):
    """Replace bytes, as many, in the ASDF extension, which no header tells of."""
    content = path.read_bytes()
    start = content.index(b"#ASDF 1.0.0")
    assert len(old) == len(new)
    assert old in content[start:]
    path.write_bytes(content[:start] + content[start:].replace(old, new))


# --- the same cutouts


@pytest.mark.parametrize("number", [0, 1])
def test_grating(grating_files, number, opened):
    assert_read_alike(grating_files[number], opened, 3)


def test_prism(prism_files, opened):
    for path in prism_files:
        with fits.open(path) as hdus:
            n_slits = sum(hdu.name == "SCI" for hdu in hdus)
        assert_read_alike(path, opened, n_slits)
        opened.clear()


def test_real_exposures(real_paths, opened):
    for path in real_paths:
        assert_read_alike(path, opened, 1)
        opened.clear()


def test_real_slits_in_one_file(real_models, tmp_path, opened):
    """Three slits, each with a WCS of its own and nothing shared."""
    model = MultiSlitModel()
    model.update(real_models[0])
    for slit in real_models:
        model.slits.append(slit)
    path = tmp_path / "multi_cal.fits"
    model.save(str(path))
    assert_read_alike(path, opened, 3)


def test_files_that_differ_in_a_pointing(small_survey, tmp_path, opened):
    """Transforms are shared between files only where they are the same."""
    skies = []
    for number, slit in enumerate(small_survey[:3]):
        path = tmp_path / f"{number}_cal.fits"
        as_multislit([slit]).save(str(path))
        assert_read_alike(path, opened, 1)
        opened.clear()
        skies.append(read_exposure(path, EVERYTHING).entries[0].cutout.footprint.sky)
    assert np.abs(skies[0] - skies[1]).max() * 3600 > 0.05


def test_only_what_is_wanted_is_read(grating_files, monkeypatch, opened):
    made, arrays = [], []
    really_make, really_read = reading.wcs_from_node, reading.FitsFile.array

    def make(*arguments):
        made.append(arguments)
        return really_make(*arguments)

    def read(file, name, version):
        arrays.append((name, version))
        return really_read(file, name, version)

    monkeypatch.setattr(reading, "wcs_from_node", make)
    monkeypatch.setattr(reading.FitsFile, "array", read)
    exposure = read_exposure(grating_files[0], Selection(("s000000002",)))
    assert [e.source.label for e in exposure.entries] == ["s000000002"]
    assert [s.label for s in exposure.left_out] == ["s000000001", "s000000003"]
    assert len(made) == 1
    assert sorted(arrays) == [("DQ", 2), ("ERR", 2), ("SCI", 2), ("VAR_RNOISE", 2)]
    assert opened == []


def test_goes_through_a_pickle(grating_files):
    exposure = read_exposure(grating_files[0], EVERYTHING)
    again = pickle.loads(pickle.dumps(exposure))  # noqa: S301 - our own
    assert_same(again.entries, exposure.entries)


# --- files that stdatamodels must open


def test_edited_headers_count(cal, opened):
    fits.setval(cal, "FILTER", value="F070LP")
    fits.setval(cal, "SRCNAME", value="BKG_1", ext=1)
    exposure = read_exposure(cal, EVERYTHING)
    assert opened == [cal.name]
    assert [e.source.label[0] for e in exposure.entries] == ["b", "s", "s"]
    assert {e.cutout.disperser for e in exposure.entries} == {"G140H/F070LP"}
    assert exposure.entries[0].header["meta.instrument.filter"] == "F070LP"


def test_file_without_asdf(cal, opened):
    with fits.open(cal, mode="update") as hdus:
        del hdus["ASDF"]
    exposure = read_exposure(cal, EVERYTHING)
    assert opened == [cal.name]
    assert exposure.entries == []
    assert [p.slit for p in exposure.problems] == ["1", "2", "3"]
    assert "the WCS is missing" in exposure.problems[0].message


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("part", [0.5, 0.999])
def test_truncated_file(cal, part):
    content = cal.read_bytes()
    cal.write_bytes(content[: int(part * len(content))])
    exposure = read_exposure(cal, EVERYTHING)
    assert exposure.entries == []
    (problem,) = exposure.problems
    assert "cannot be read (File may have been truncated" in problem.message
    assert problem.file == str(cal)


def test_damaged_asdf(cal, opened):
    edit_asdf(cal, b"\nslits:\n", b"\nslits{\n")
    (problem,) = read_exposure(cal, EVERYTHING).problems
    assert opened == [cal.name]
    assert "cannot be read" in problem.message


def test_unknown_array_is_left_to_stdatamodels(cal, opened):
    """An array that is not where the pipeline puts it."""
    edit_asdf(cal, b"source: fits:SCI,2\n", b"source: fits:ERR,2\n")
    exposure = read_exposure(cal, EVERYTHING)
    assert opened == [cal.name]
    assert_same(exposure.entries, by_model(cal).entries)


def test_two_extensions_of_one_name(cal, opened):
    with fits.open(cal, mode="append") as hdus:
        hdus.append(fits.ImageHDU(np.zeros((2, 2), np.float32), name="SCI"))
    read_exposure(cal, EVERYTHING)
    assert opened == [cal.name]


def test_no_files(tmp_path):
    (tmp_path / "text.fits").write_text("no FITS")
    for name, message in (("none.fits", "no such file"), ("text.fits", "cannot be read")):
        (problem,) = read_exposure(tmp_path / name, EVERYTHING).problems
        assert message in problem.message
    (problem,) = read_exposure(tmp_path, EVERYTHING).problems
    assert "is a folder" in problem.message


# --- the tree of an ASDF file


def test_tree_is_that_of_asdf():
    shared, empty = {"a": [1, 2.5, -0.0, 1e-300], "b": None}, {}
    content = {
        "first": {"word": "a: b", "long": "word " * 60, "lines": "one\n\n two\n", "01": "007"},
        "again": [shared, [shared, [1, [2, 3]]], {"deep": [{"x": 1, "y": {"z": [shared]}}]}],
        "of many kinds": [True, "true", "null", "1e5", 1e5, "*", "R&D: *x", "- y", "#", ""],
        "odd": [1, "*id001"],
        "text": {"a": "*x", "b": "a, [b]: {c}", "c": "\u00e9 'x' \"y\""},
        "like an alias": "*id001",
        "like an anchor": "x &id001 y",
        "empty": [empty, [], empty],
        "arrays": {"one": np.arange(12.0).reshape(3, 4), "two": np.arange(5, dtype=">i2")},
        "view": np.arange(24.0).reshape(4, 6)[1:, ::2],
    }
    buffer = BytesIO()
    asdf.AsdfFile(content).write_to(buffer)
    root = Tree(buffer.getvalue()).root
    buffer.seek(0)
    with asdf.open(buffer) as file:
        # asdf sorts the keys of a dict
        written = {key: file[key] for key in ("first", "again", "empty")}
    for key, expected in (content | written).items():
        if key == "odd":
            with pytest.raises(UnusualFileError, match="may look like an alias"):
                root.get(key).converted()
        elif key == "view":
            np.testing.assert_array_equal(root.get(key).array(), expected)
        elif key == "arrays":
            for name, array in expected.items():
                found = root.get(key).get(name).array()
                assert found.dtype == array.dtype
                np.testing.assert_array_equal(found, array)
        else:
            assert repr(root.get(key).converted()) == repr(expected)
    assert root.get("none") is None


# --- cutouts that wait in a file


@pytest.fixture(scope="module")
def exposure(grating_files):
    return read_exposure(grating_files[0], EVERYTHING)


@pytest.fixture
def stored(exposure, tmp_path):
    path = tmp_path / "exposure.cutouts"
    save_cutouts(path, exposure)
    return path


def test_stored_cutouts(exposure, stored):
    assert_same(load_entries(stored), exposure.entries)
    assert_same(load_entries(stored, {"s000000002"}), exposure.entries[1:2])
    arrays = sum(3 * e.cutout.data.nbytes for e in exposure.entries)
    assert stored.stat().st_size < 1.05 * arrays


def test_source_from_stored_cutouts(grating_files, tmp_path):
    paths, expected = [], []
    for number, path in enumerate([*grating_files, grating_files[0]]):
        exposure = read_exposure(path, EVERYTHING)
        paths.append(tmp_path / str(number))
        save_cutouts(paths[-1], exposure)
        expected += [e for e in exposure.entries if e.source.label == "s000000003"]
    source = load_cutouts(paths, "s000000003")
    assert (source.label, source.name) == ("s000000003", expected[0].source.name)
    # the third is the first once more
    assert [c.detector for c in source.cutouts] == ["NRS1", "NRS2"]
    assert differences(source.cutouts[1], expected[1].cutout) == []
    assert source.headers == [e.header for e in expected[:2]]
    with pytest.raises(InputError, match="no exposure has cutouts of s000000009"):
        load_cutouts(paths, "s000000009")


def test_missing_arrays_and_numbers_are_kept(exposure, tmp_path):
    entry = exposure.entries[0]
    cutout = replace(entry.cutout, read_variance=None, pointing=None, exposure_time=float("nan"))
    odd = replace(exposure, entries=[entry._replace(cutout=cutout)])
    save_cutouts(tmp_path / "odd", odd)
    assert_same(load_entries(tmp_path / "odd"), odd.entries)


@pytest.mark.parametrize("place", [3, 20, 40, -1000])
def test_damage_is_found(stored, place):
    content = bytearray(stored.read_bytes())
    content[place] ^= 1
    stored.write_bytes(content)
    with pytest.raises(InputError, match=r"exposure\.cutouts: is damaged .*start the run again"):
        load_entries(stored)


def test_only_the_wanted_part_is_read(stored, exposure):
    content = bytearray(stored.read_bytes())
    content[-1000] ^= 1  # in the last cutout
    stored.write_bytes(content)
    assert_same(load_entries(stored, {"s000000001"}), exposure.entries[:1])


def test_truncated_and_missing(stored, tmp_path):
    content = stored.read_bytes()
    for size in (0, 10, 100, len(content) - 1000):
        stored.write_bytes(content[:size])
        with pytest.raises(InputError, match="is damaged"):
            load_entries(stored)
    with pytest.raises(InputError, match="cannot be read"):
        load_entries(tmp_path / "none")


def test_written_whole_or_not_at_all(exposure, tmp_path, monkeypatch):
    bad = exposure.entries[0]._replace(header={"meta.x": object()})
    with pytest.raises(TypeError):
        save_cutouts(tmp_path / "x", replace(exposure, entries=[bad]))
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_cutouts(tmp_path / "x", exposure)
    assert list(tmp_path.iterdir()) == []
