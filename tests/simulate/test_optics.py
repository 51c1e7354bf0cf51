"""NIRSpec's optics: jwst builds its WCS from our reference files, against the real one."""

from functools import cache
from pathlib import Path

import asdf
import gwcs
import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from jwst.assign_wcs.assign_wcs import load_wcs
from jwst.assign_wcs.nirspec import create_pipeline, nrs_wcs_set_input
from jwst.extract_2d.extract_2d import extract2d
from stdatamodels.jwst import datamodels

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.optics import elements, extract
from msa3d_steps.simulate.optics.dispersers import CONFIGURATIONS, configuration, disperser
from msa3d_steps.simulate.optics.references import write_wcs_references

SLIT_Y_RANGE = (-0.55, 0.55)  # jwst's default in assign_wcs
MODELS = {
    "camera": datamodels.CameraModel,
    "collimator": datamodels.CollimatorModel,
    "disperser": datamodels.DisperserModel,
    "fore": datamodels.FOREModel,
    "fpa": datamodels.FPAModel,
    "msa": datamodels.MSAModel,
    "ote": datamodels.OTEModel,
    "wavelengthrange": datamodels.WavelengthrangeModel,
}
CENTRAL = (2, 345, 20)  # quadrant, place across and along: a shutter 7 and 11 mm from the middle
PLACES = [(1, 240, 90), (2, 295, 33), (3, 180, 85), (4, 120, 140)]


def write_metafile(path, places, n_open=3, dither=1, shift=0):
    """Open slitlets around shutters (quadrant, across, along); the shift moves the source's."""
    rows = [
        (number, 1, quadrant, across, along + k, 1 + number, "N" if k == shift else "Y", "OPEN",
         0.5, 0.5, dither, "Y" if k == shift else "N", "NONE")
        for number, (quadrant, across, along) in enumerate(places, start=1)
        for k in range(-(n_open // 2), n_open // 2 + 1)
    ]  # fmt: skip
    names = (
        "slitlet_id", "msa_metadata_id", "shutter_quadrant", "shutter_row", "shutter_column",
        "source_id", "background", "shutter_state", "estimated_source_in_shutter_x",
        "estimated_source_in_shutter_y", "dither_point_index", "primary_source", "fixed_slit",
    )  # fmt: skip
    sources = [
        (1, 1 + n, f"s{n}", f"s{n}", 53.0, -27.0, "", 0.0) for n in range(1, 1 + len(places))
    ]
    source_names = ("program", "source_id", "source_name", "alias", "ra", "dec", "preimage_id",
                    "stellarity")  # fmt: skip
    tables = [
        ("SHUTTER_INFO", Table(rows=rows, names=names)),
        ("SOURCE_INFO", Table(rows=sources, names=source_names)),
    ]
    hdus = [fits.BinTableHDU(table, name=name) for name, table in tables]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def empty_image():
    """A full frame of zeros."""
    planes = ("data", "err", "var_rnoise", "var_poisson")
    arrays = {name: np.zeros((2048, 2048), np.float32) for name in planes}
    return datamodels.ImageModel(dq=np.zeros((2048, 2048), np.uint32), **arrays)


def full_frame(detector, grating, filter_):
    """An empty exposure at a plain pointing."""
    model = datamodels.ImageModel()
    meta = model.meta
    meta.instrument.name, meta.instrument.detector = "NIRSPEC", detector
    meta.instrument.grating, meta.instrument.filter = grating, filter_
    meta.instrument.gwa_xtilt, meta.instrument.gwa_ytilt = 0.338, 0.032
    meta.instrument.gwa_tilt, meta.instrument.lamp_mode = 36.0, "MSASPEC"
    meta.instrument.msa_metadata_id = 1
    meta.exposure.type = "NRS_MSASPEC"
    meta.observation.program_number, meta.dither.position_number = "02136", 1
    meta.velocity_aberration.scale_factor = 1.0
    meta.wcsinfo.instance.update(
        v2_ref=378.563202, v3_ref=-428.402832, v3yangle=138.5745697, vparity=-1, roll_ref=30.0,
        ra_ref=53.0, dec_ref=-27.0, velosys=0.0,
    )  # fmt: skip
    return model


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Write reference files once per grating: a function of grating and filter."""
    folder = tmp_path_factory.mktemp("references")

    @cache
    def write(grating, filter_):
        paths = write_wcs_references(folder, grating, filter_)
        return {reftype: str(path) for reftype, path in paths.items()}

    return write


def slit_wcs(references, metafile, detector, grating, filter_):
    """The WCS of slitlets as jwst's assign_wcs makes it, without bounding boxes, by number."""
    files = references(grating, filter_) | {"msametafile": str(metafile)}
    model = full_frame(detector, grating, filter_)
    model.meta.wcs = gwcs.WCS(create_pipeline(model, files, SLIT_Y_RANGE))
    slits = model.meta.wcs.get_transform("gwa", "slit_frame").slits
    return {int(slit.name): (slit, nrs_wcs_set_input(model, slit.name)) for slit in slits}


@pytest.fixture(scope="module")
def g140h(references, tmp_path_factory):
    """The four slitlets of PLACES in G140H on both detectors."""
    metafile = write_metafile(tmp_path_factory.mktemp("g140h") / "msa.fits", PLACES)
    setup = ("G140H", "F100LP")
    return {d: slit_wcs(references, metafile, d, *setup) for d in ("NRS1", "NRS2")}


def columns_of(wcs, lam):
    """Columns and rows where wavelengths (um) from the middle of the slit fall."""
    zero = np.zeros_like(lam)
    return wcs.get_transform("slit_frame", "detector")(zero, zero, lam * 1e-6)


# the real exposures ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2])
def test_jwst_gives_the_real_cutout_and_its_wcs_back(real_models, references, number, tmp_path):
    real = real_models[number]
    # three open shutters, 32-34 along the slit; the source is in the one that is the cutout's
    dither, shift = real.meta.dither.position_number, int(real.ycen) - 33
    metafile = write_metafile(tmp_path / "msa.fits", [(2, 295, 33)], 3, dither, shift)
    model = empty_image()
    model.update(real)
    files = references("PRISM", "CLEAR") | {"msametafile": str(metafile)}
    [cutout] = extract2d(load_wcs(model, files, SLIT_Y_RANGE)).slits

    for name in ("xstart", "ystart", "xsize", "ysize", "shutter_state", "quadrant", "shutter_id"):
        assert getattr(cutout, name) == getattr(real, name), name
    y, x = np.mgrid[: real.ysize, : real.xsize].astype(float)
    ours, theirs = np.array(cutout.meta.wcs(x, y)), np.array(real.meta.wcs(x, y))
    assert np.array_equal(np.isnan(ours), np.isnan(theirs))
    inside = np.isfinite(theirs[2])
    assert inside.sum() > 5000
    off = (ours - theirs)[:, inside]
    assert np.abs(off[:2]).max() * 3.6e6 < 1e-3  # mas; measured 2e-7
    assert np.abs(off[2]).max() < 1e-9  # um; measured 1e-13
    # back to the pixel: the real WCS, of jwst 1.14, does not undo the Earth's velocity on this way
    x_slit, y_slit, lam = real.meta.wcs.get_transform("detector", "slit_frame")(x, y)
    slit = np.array([x_slit, y_slit, lam])[:, inside]
    back = np.array(cutout.meta.wcs.get_transform("slit_frame", "detector")(*slit))
    slit[2] *= 1 + real.meta.wcsinfo.velosys / 299792458.0
    expected = np.array(real.meta.wcs.get_transform("slit_frame", "detector")(*slit))
    assert np.abs(back - expected).max() < 1e-6  # pixel; measured 7e-12


def test_extracting_again_gives_the_coefficients_of_the_package(real_paths, tmp_path):
    output = tmp_path / "coefficients.asdf"
    extract.main([str(real_paths[2]), str(output)])
    assert_same(extract.extract_coefficients(real_paths[2]), elements.load_coefficients())
    committed = Path(elements.__file__).with_name("coefficients.asdf")
    assert output.stat().st_size < 300e3  # measured 9288 bytes
    with asdf.open(output) as ours, asdf.open(committed) as theirs:
        names = {"asdf_library", "history"}
        assert_same(*({k: v for k, v in f.tree.items() if k not in names} for f in (ours, theirs)))


def assert_same(first, second, rtol=0.0, atol=0.0):
    """Two trees of numbers, strings and arrays are the same."""
    assert set(first) == set(second)
    for key, value in first.items():
        if isinstance(value, dict):
            assert_same(value, second[key], rtol, atol)
        elif isinstance(value, str):
            assert value == second[key], key
        else:
            np.testing.assert_allclose(value, second[key], rtol=rtol, atol=atol, err_msg=key)


# what is in the package -----------------------------------------------------------------------


def test_coefficients_are_small_and_say_where_they_are_from():
    path = Path(elements.__file__).with_name("coefficients.asdf")
    content = path.read_bytes()
    assert len(content) < 300e3  # measured 9288 bytes
    assert b"/home" not in content and b"/root" not in content and b"/work" not in content
    provenance = elements.load_coefficients()["provenance"]
    for word in ("GO-1345", "NRS2", "PRISM/CLEAR", "jwst_1225.pmap"):
        assert word in provenance


def test_extracting_from_what_jwst_makes_of_our_files_closes_the_circle(references, tmp_path):
    metafile = write_metafile(tmp_path / "msa.fits", [(2, 150, 100)])
    slits = slit_wcs(references, metafile, "NRS2", "PRISM", "CLEAR")
    slit, wcs = slits[1]
    cutout = datamodels.SlitModel()
    cutout.update(full_frame("NRS2", "PRISM", "CLEAR"))
    cutout.quadrant, cutout.xcen, cutout.ycen = map(int, (slit.quadrant, slit.xcen, slit.ycen))
    cutout.meta.wcs = wcs
    cutout.save(str(tmp_path / "cutout.fits"))
    coefficients = extract.extract_coefficients(tmp_path / "cutout.fits")
    expected = dict(elements.load_coefficients())
    for record in (coefficients, expected):
        record.pop("provenance")
        record["disperser"] = {k: v for k, v in record["disperser"].items() if k != "sensors"}
    cutout.xcen = 1
    cutout.save(str(tmp_path / "edge.fits"))
    with pytest.raises(InputError, match=r"edge.fits.*does not tell the pitch"):
        extract.extract_coefficients(tmp_path / "edge.fits")
    # the pitch comes from single-precision places: 4e-9 relative
    assert_same(coefficients, expected, rtol=3e-7, atol=1e-15)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), ("text", "SlitModel"), ("image", "no WCS")]
)
def test_what_is_no_mos_cutout_is_refused(content, words, tmp_path):
    path = tmp_path / "cutout.fits"
    if content == "text":
        path.write_text("no FITS file")
    elif content == "image":
        model = datamodels.SlitModel((5, 5))
        model.meta.exposure.type = "NRS_FIXEDSLIT"
        model.save(str(path))
    with pytest.raises(InputError, match=words) as caught:
        extract.extract_coefficients(path)
    assert "cutout.fits" in str(caught.value)


# the reference files --------------------------------------------------------------------------


@pytest.mark.parametrize(("grating", "filter_"), [("PRISM", "CLEAR"), ("G140H", "F100LP")])
def test_reference_files_are_valid_and_say_that_they_are_synthetic(grating, filter_, references):
    paths = references(grating, filter_)
    assert set(paths) == set(MODELS)
    for reftype, path in paths.items():
        with MODELS[reftype](path, strict_validation=True) as model:
            model.validate()
            meta = model.meta
            assert (meta.reftype.lower(), meta.instrument.name) == (reftype, "NIRSPEC")
            assert meta.pedigree == "DUMMY"
            assert "SYNTHETIC" in meta.author and "SYNTHETIC" in meta.description
            assert meta.useafter and meta.exposure.type == "NRS_MSASPEC"
    with MODELS["disperser"](paths["disperser"]) as model:
        assert model.meta.instrument.grating == grating
    with MODELS["fore"](paths["fore"]) as model:
        assert model.meta.instrument.filter == filter_


def test_the_same_files_are_the_same_bytes(references, tmp_path):
    again = write_wcs_references(tmp_path, "PRISM", "CLEAR")
    for reftype, path in references("PRISM", "CLEAR").items():
        content = Path(path).read_bytes()
        assert again[reftype].read_bytes() == content, reftype
        assert len(content) < 1.3e6  # the MSA's table of 62415 shutters is there once


def test_a_grating_that_is_not_simulated_is_refused():
    with pytest.raises(InputError, match=r"G140H/F070LP is not simulated; choose .*G140H/F100LP"):
        configuration("G140H", "F070LP")
    other = {**elements.load_coefficients(), "disperser": {"grating": "G140M", "angles": [0.0] * 4}}
    with pytest.raises(InputError, match="do not contain PRISM"):
        disperser(other, "PRISM")


# what is modelled, against documented figures --------------------------------------------------


@pytest.mark.parametrize(
    ("grating", "filter_", "wave_range", "dispersion"),
    [
        ("G140H", "F100LP", (0.97, 1.82), 2.3e-4),
        ("G235H", "F170LP", (1.66, 3.05), 3.96e-4),
        ("G395H", "F290LP", (2.87, 5.14), 6.65e-4),
        ("G140M", "F100LP", (0.97, 1.84), 6.37e-4),
    ],
)
def test_gratings_have_the_documented_ranges(
    grating, filter_, wave_range, dispersion, references, tmp_path
):
    assert CONFIGURATIONS[grating, filter_].wave_range == wave_range
    metafile = write_metafile(tmp_path / "msa.fits", [CENTRAL])
    lam = np.linspace(*wave_range, 2001)
    columns = {}
    for detector in ("NRS1", "NRS2"):
        _, wcs = slit_wcs(references, metafile, detector, grating, filter_)[1]
        columns[detector] = columns_of(wcs, lam)[0]
        assert (np.diff(columns[detector]) > 0).all()  # wavelength grows with the column
    # the whole range is on the detectors or in the gap between them
    assert columns["NRS1"][0] > 0
    assert columns["NRS2"][-1] < 2047
    # dispersion in um per pixel, on average over the range
    mean = np.ptp(lam) / np.ptp(columns["NRS1"])
    assert mean == pytest.approx(dispersion, rel=0.01)
    # NRS1 has the short wavelengths, and the gap takes 2.8 mm or 155.6 pixels of the spectrum
    gap = columns["NRS1"] - columns["NRS2"] - 2048
    np.testing.assert_allclose(gap, 2.8e-3 / 18e-6, atol=0.1)
    assert (columns["NRS1"] < 2047.5).any() and (columns["NRS2"] > -0.5).any()


def test_prism_has_the_documented_range_on_one_detector(references, tmp_path):
    # a spectrum in quadrant 2 is on NRS2 whole (up to column 180), one in quadrant 3 on NRS1
    lam = np.linspace(0.6, 5.3, 200)
    metafile = write_metafile(tmp_path / "msa.fits", [(2, 100, 80), (3, 180, 80)])
    for detector, number in (("NRS2", 1), ("NRS1", 2)):
        _, wcs = slit_wcs(references, metafile, detector, "PRISM", "CLEAR")[number]
        column = columns_of(wcs, lam)[0]
        assert column.min() > 0 and column.max() < 2047
        assert np.ptp(column) == pytest.approx(400, abs=20)  # documented: about 400 pixels


def test_a_slitlet_is_on_the_same_rows_of_both_detectors(g140h):
    lam = np.linspace(0.97, 1.82, 500)
    for number in range(1, 1 + len(PLACES)):
        (x1, y1), (x2, y2) = (columns_of(g140h[d][number][1], lam) for d in ("NRS1", "NRS2"))
        last, first = np.argmin(np.abs(x1 - 2047)), np.argmin(np.abs(x2))
        assert abs(y1[last] - y2[first]) < 2  # rows


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
def test_from_slit_to_pixel_and_back(g140h, detector):
    worst = np.zeros(4)
    for slit, wcs in g140h[detector].values():
        y_slit = np.linspace(slit.ymin + 0.1, slit.ymax - 0.1, 9)[:, None]
        y_slit, lam = np.broadcast_arrays(y_slit, np.linspace(0.97e-6, 1.82e-6, 800))
        start = np.array([np.zeros_like(lam), y_slit, lam])
        x, y = wcs.get_transform("slit_frame", "detector")(*start)
        on = (np.abs(x - 1023.5) < 1024) & (np.abs(y - 1023.5) < 1024)
        assert on.sum() > 1000
        x, y, start = x[on], y[on], start[:, on]

        # without the camera: NIRSpec's gratings, collimator and shutters undo themselves
        cosines = wcs.get_transform("slit_frame", "gwa")(*start)
        again = np.array(wcs.get_transform("gwa", "slit_frame")(*cosines))
        off = np.abs(again - start).max(axis=1)
        assert off[0] == 0
        assert off[1] < 1e-3 * 0.23  # 1e-3 pixel in y_slit; measured 3e-10
        assert off[2] < 1e-3 * 2.3e-10  # 1e-3 pixel in m; measured 2e-20

        # with it: its polynomials for the two ways are fits of their own
        again = np.array(wcs.get_transform("detector", "slit_frame")(x, y))
        x_again, y_again = wcs.get_transform("slit_frame", "detector")(*again)
        worst = np.maximum(worst, [np.abs(d).max() for d in (
            x_again - x, y_again - y, again[1] - start[1], again[2] - start[2]
        )])  # fmt: skip

        # wavelength grows along the rows
        columns = np.arange(np.ceil(x.min()), x.max())
        along = wcs(columns, np.full_like(columns, np.median(y)))[2]
        assert np.isfinite(along).sum() > 1000
        assert (np.diff(along[np.isfinite(along)]) > 0).all()
    # pixel, pixel, y_slit, m; measured 0.0134, 0.0100, 0.0023, 2.9e-12: the camera's own 0.027
    assert (worst < [0.03, 0.03, 0.007, 7e-12]).all()


def test_camera_undoes_itself_as_well_as_the_real_one():
    c = elements.load_coefficients()
    camera = elements.camera(c)
    y, x = np.mgrid[0:2048:64, 0:2048:64].astype(float)
    for detector in ("NRS1", "NRS2"):
        fpa = elements.fpa(c, detector)
        x_again, y_again = fpa.inverse(*camera.inverse(*camera(*fpa(x, y))))
        off = np.hypot(x_again - x, y_again - y)
        # pixel; measured 0.0269 in a corner, 0.0044 root mean square; the real file has no better
        assert off.max() < 0.03
        assert np.sqrt((off**2).mean()) < 0.005


def corners_on_sky(number):
    """V2 and V3 (arcsec) of the corners of a quadrant's open area, shape ``(4, 2)``."""
    c = elements.load_coefficients()
    half, last = c["msa"]["size"] / 2, (np.array(elements.SHUTTERS) - 1) * c["msa"]["pitch"]
    low, high = -half, last + half
    x = np.array([low[0], high[0], high[0], low[0]])
    y = np.array([low[1], low[1], high[1], high[1]])
    x, y = elements.quadrant(c, number)(x, y)
    return np.stack(elements.ote(c)(*elements.fore(c)(x, y, np.full(4, 2e-6))), axis=1)


def test_quadrants_are_where_they_are_documented():
    # V2, V3 of the centres of the apertures NRS_FULL_MSA1 to 4 of the observatory's SIAF
    documented = {
        1: (466.321, -436.582), 2: (381.810, -341.131),
        3: (375.509, -516.632), 4: (291.548, -420.743),
    }  # fmt: skip
    for number, centre in documented.items():
        off = corners_on_sky(number).mean(axis=0) - centre
        assert (
            np.hypot(*off) < 0.6
        )  # arcsec; measured 0.22 for the real one, 0.18-0.56 for the others


def test_gaps_between_the_quadrants_are_as_documented():
    corners = {number: corners_on_sky(number) for number in range(1, 5)}
    # corners are (left, low), (right, low), (right, high), (left, high), seen in the MSA
    gaps = {
        "dispersion": [(2, 1, 4, 0), (2, 2, 4, 3), (1, 1, 3, 0), (1, 2, 3, 3)],
        "along": [(1, 3, 2, 0), (1, 2, 2, 1), (3, 3, 4, 0), (3, 2, 4, 1)],
    }
    documented = {"dispersion": 23, "along": 37}  # arcsec, JDox: "approximately"
    for direction, pairs in gaps.items():
        for first, i, second, j in pairs:
            gap = np.hypot(*(corners[first][i] - corners[second][j]))
            assert gap == pytest.approx(
                documented[direction], abs=1
            )  # measured 23.0-23.3 and 37.2-37.3
    # the quadrants do not overlap: each lies on its own side of the MSA's axes
    c = elements.load_coefficients()
    table = elements.shutters(c)
    for number, sides in elements.QUADRANT_SIDES.items():
        places = np.stack(elements.quadrant(c, number)(table["XC"], table["YC"]))
        assert (np.abs(places) > [[4.4e-3], [7.0e-3]]).all()
        assert (np.sign(places) == np.array(sides)[:, None]).all()


def test_shutters_are_365_by_171_at_the_measured_pitch():
    c = elements.load_coefficients()
    table = elements.shutters(c)
    assert table.size == 365 * 171
    shutter = table[295 - 1 + (33 - 1) * 365]
    assert shutter["NO"] == 295 + (33 - 1) * 365
    # the very numbers of the real WCS, m
    assert shutter["XC"] == np.float32(0.030864901840686798)
    assert shutter["YC"] == np.float32(0.006511981599032879)
    np.testing.assert_allclose(c["msa"]["pitch"], (104.98e-6, 203.50e-6), rtol=1e-4)
    assert [elements.fixed_slits()[name].shape for name in ("NO", "SIZEX")] == [(5,), (5,)]
