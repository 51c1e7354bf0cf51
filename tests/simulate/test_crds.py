import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from crds.core import rmap
from crds.core.exceptions import ChecksumError
from jwst.assign_wcs.assign_wcs import load_wcs
from jwst.barshadow import bar_shadow as jwst_bar_shadow
from jwst.flatfield import flat_field
from jwst.msaflagopen import msaflag_open
from jwst.pathloss import pathloss
from jwst.photom.photom import DataSet
from jwst.srctype.srctype import set_source_type
from scipy.ndimage import map_coordinates
from stdatamodels.jwst import datamodels
from uniform import SLIT_Y_RANGE, blank, cut_out, pixel_places, uniform_rate

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.metafile import Slitlet, write_metafile
from msa3d_steps.simulate.optics.references import write_wcs_references
from msa3d_steps.simulate.references import calibration
from msa3d_steps.simulate.references.crds import environment, write_cache
from msa3d_steps.simulate.references.files import write_calibration_references

MODELS = {
    "area": datamodels.NirspecMosAreaModel,
    "barshadow": datamodels.BarshadowModel,
    "dflat": datamodels.NirspecFlatModel,
    "fflat": datamodels.NirspecQuadFlatModel,
    "pathloss": datamodels.PathlossModel,
    "photom": datamodels.NrsMosPhotomModel,
    "sflat": datamodels.NirspecFlatModel,
}


WCS_TYPES = (
    "camera", "collimator", "disperser", "fore", "fpa", "msa", "ote", "wavelengthrange"
)  # fmt: skip
STUCK_OPEN = (2, 200, 20)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of two gratings: its root, and the reference files by grating.

    That of G140H has a stuck shutter.
    """
    folder = tmp_path_factory.mktemp("cache")
    files = {}
    for grating, filter_, stuck in (("PRISM", "CLEAR", None), ("G140H", "F100LP", STUCK_OPEN)):
        files[grating] = write_wcs_references(folder / grating, grating, filter_)
        files[grating] |= write_calibration_references(folder / grating, grating, filter_, stuck)
        write_cache(folder / "crds", files[grating], grating, filter_)
    return folder / "crds", files


@pytest.fixture(scope="module")
def references(cache):
    """The reference files of G140H."""
    return cache[1]["G140H"]


@pytest.mark.parametrize("reftype", sorted(MODELS))
def test_references_are_valid_for_their_schema(references, reftype):
    paths = references[reftype]
    for path in paths.values() if isinstance(paths, dict) else [paths]:
        with MODELS[reftype](path, strict_validation=True) as model:
            model.validate()
            assert model.meta.reftype.lower() == reftype
            assert "SYNTHETIC" in model.meta.description


def test_references_are_small(references):
    paths = [p for v in references.values() for p in (v.values() if isinstance(v, dict) else [v])]
    assert len(paths) == 18
    assert sum(path.stat().st_size for path in paths) < 20e6  # 18 MB


def test_same_references_are_the_same_bytes(references, tmp_path):
    again = write_calibration_references(tmp_path, "G140H", "F100LP", STUCK_OPEN)
    assert again["dflat"]["NRS2"].read_bytes() == references["dflat"]["NRS2"].read_bytes()
    for reftype in set(again) - {"dflat", "sflat"}:
        assert again[reftype].read_bytes() == references[reftype].read_bytes()
    assert len(list(tmp_path.iterdir())) == 10


def test_flats_are_stored_without_loss(references):
    with datamodels.NirspecFlatModel(references["dflat"]["NRS2"]) as flat:
        np.testing.assert_array_equal(flat.data[0], calibration.detector_flat_image("NRS2"))
        np.testing.assert_array_equal(flat.dq != 0, calibration.flat_bad_pixels("NRS2"))
        assert not flat.err.any()
    with datamodels.NirspecFlatModel(references["sflat"]["NRS1"]) as flat:
        np.testing.assert_array_equal(flat.data, calibration.spectrograph_flat_image("NRS1"))


@pytest.mark.parametrize("state", ["x", "1x1", "11x11", "x1", "1x", "11111x"])
def test_jwst_assembles_the_bar_shadow_that_we_apply(references, state):
    random = np.random.default_rng(1)
    first, last = -state.index("x") - 1, len(state) - state.index("x")
    along, lam = random.uniform(first, last, 20000), random.uniform(0.6, 5.5, 20000)
    with datamodels.BarshadowModel(references["barshadow"]) as model:
        shadow = jwst_bar_shadow.create_shadow(
            jwst_bar_shadow.create_shutter_elements(model), state
        )
        column = (lam * 1e-6 - model.crval1) / model.cdelt1
        row = (along - first) / model.cdelt2
    theirs = map_coordinates(shadow, [row, column], order=1, mode="nearest")
    ours = calibration.bar_shadow(along, lam, state)
    np.testing.assert_allclose(theirs, ours, rtol=3e-4)
    lit = ours > 0.3
    np.testing.assert_allclose(theirs[lit], ours[lit], rtol=1e-4)


def test_a_point_source_far_from_its_shutter_is_not_outside(references):
    with datamodels.PathlossModel(references["pathloss"]) as model:
        for aperture in model.apertures:
            for place in ((0, 0), (-12.3, 7.9), (15, -15)):
                *_, inside = pathloss.calculate_pathloss_vector(
                    aperture.pointsource_data, aperture.pointsource_wcs, *place
                )
                assert inside


def write_tiny(folder, **references):
    """Files that only have a content."""
    paths = {}
    for reftype, text in references.items():
        paths[reftype] = folder / f"{reftype}.json"
        paths[reftype].write_text(text)
    return paths


def chosen(root, monkeypatch, **header):
    """Contents of the files that the rules of a cache choose for an exposure."""
    monkeypatch.setenv("CRDS_PATH", str(root))
    header = {
        "META.INSTRUMENT.NAME": "NIRSPEC", "META.INSTRUMENT.GRATING": "G140H",
        "META.INSTRUMENT.FILTER": "F100LP", "META.INSTRUMENT.DETECTOR": "NRS1",
        "META.EXPOSURE.TYPE": "NRS_MSASPEC", "META.OBSERVATION.DATE": "2024-06-01",
        "META.OBSERVATION.TIME": "00:00:00",
    } | {f"META.INSTRUMENT.{key.upper()}": value for key, value in header.items()}  # fmt: skip
    found = rmap.load_mapping("jwst_0001.pmap").get_best_references(header)
    folder = root / "references" / "jwst" / "nirspec"
    return {k: (folder / v).read_text() for k, v in found.items() if "NOT FOUND" not in v}, found


def test_rules_choose_by_detector_grating_and_filter(tmp_path, monkeypatch):
    root = tmp_path / "crds"
    one = write_tiny(tmp_path, msa="msa", disperser="G140H", fore="F100LP")
    one["sflat"] = write_tiny(tmp_path, NRS1="one", NRS2="two")
    assert write_cache(root, one, "G140H", "F100LP") == environment(root)
    first, found = chosen(root, monkeypatch, detector="NRS2")
    assert first == {"msa": "msa", "disperser": "G140H", "fore": "F100LP", "sflat": "two"}
    # all other types, and the parameters of all steps, are "not applicable"
    for reftype in (
        "bkg",
        "apcorr",
        "pars-spec3pipeline",
        "pars-jumpstep",
        "pars-targcentroidstep",
    ):
        assert found[reftype] == "NOT FOUND n/a"
    # an exposure of another grating is an error, not a step left out
    _, found = chosen(root, monkeypatch, grating="PRISM", filter="CLEAR")
    assert found["sflat"].startswith("NOT FOUND")
    assert "n/a" not in found["sflat"]

    other = write_tiny(tmp_path, msa="new", disperser="PRISM", fore="CLEAR")
    other["sflat"] = write_tiny(tmp_path, NRS1="three", NRS2="four")
    write_cache(root, other, "PRISM", "CLEAR")
    assert chosen(root, monkeypatch, detector="NRS2")[0] == first | {"msa": "new"}
    second, _ = chosen(root, monkeypatch, grating="PRISM", filter="CLEAR")
    assert second == {"msa": "new", "disperser": "PRISM", "fore": "CLEAR", "sflat": "three"}
    # the same again replaces files and adds none
    before = sorted(root.rglob("*"))
    write_cache(root, other, "PRISM", "CLEAR")
    assert sorted(root.rglob("*")) == before


def test_checksums_are_checked_and_right(tmp_path, monkeypatch):
    root = tmp_path / "crds"
    write_cache(root, write_tiny(tmp_path, msa="msa"), "G140H", "F100LP")
    monkeypatch.setenv("CRDS_PATH", str(root))
    maps = root / "mappings" / "jwst"
    assert len(list(maps.iterdir())) == 3
    for path in maps.iterdir():
        rmap.load_mapping(path.name)
    text = (maps / "jwst_nirspec_0001.imap").read_text()
    (maps / "jwst_nirspec_0001.imap").write_text(text.replace("'MSA' ", "'MSX' "))
    with pytest.raises(ChecksumError):
        rmap.load_mapping("jwst_nirspec_0001.imap")


def test_a_cache_of_others_is_left_alone(tmp_path):
    from empty_crds import empty_cache

    empty_cache(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match="did not make"):
        write_cache(tmp_path, {}, "G140H", "F100LP")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


SLITLETS = {
    "PRISM": Slitlet(1, 1, 150, 40, 3, 8512, "9999_8512", "8512", 150.11, 2.31, 0.1, 4.5, -3.5),
    "G140H": Slitlet(2, 2, 180, 70, 1, 40, "9999_40", "40", 150.12, 2.32, 0.1),
}


def calwebb_spec2(folder, cache, grating, filter_, detector):
    """Calibrate a sky of 1 MJy/sr as a user would; returns the path of the result."""
    root, files = cache
    metafile = write_metafile(folder / "jw09999001001_01_msa.fits", [SLITLETS[grating]], 2)
    rate = uniform_rate(grating, filter_, detector, files[grating], metafile, dither=2)
    name = f"jw09999001001_03101_00002_{detector.lower()}"
    rate.save(str(folder / f"{name}_rate.fits"))
    strun = Path(sys.executable).with_name("strun")
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment(root)}
    done = subprocess.run(
        [strun, "calwebb_spec2", f"{name}_rate.fits"],
        cwd=folder, env=variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / f"{name}_cal.fits"


def check_uniform(slit, slitlet, detector):
    """A calibrated slitlet is bright by 1 MJy/sr all over."""
    assert (slit.source_id, slit.source_name) == (slitlet.source_id, slitlet.source_name)
    assert (slit.source_type, slit.meta.bunit_data) == ("EXTENDED", "MJy/sr")
    lam, y_slit = pixel_places(slit)
    light = calibration.bar_shadow(y_slit / slit.slit_yscale, lam, slit.shutter_state)
    seen = np.isfinite(lam) & np.isfinite(y_slit)
    bad = seen & ~np.isfinite(slit.data)
    rows, columns = np.nonzero(bad)
    flagged = calibration.flat_bad_pixels(detector)
    assert np.all(flagged[rows + slit.ystart - 1, columns + slit.xstart - 1])
    good = seen & ~bad
    assert good.sum() > 5000
    # 0.006% and 0.022%, of the linear interpolation in the table of the bar shadow
    np.testing.assert_allclose(slit.data[good & (light > 0.3)], 1, rtol=1e-4)
    np.testing.assert_allclose(slit.data[good], 1, rtol=4e-4)


@pytest.mark.skipif(not os.environ.get("MSA3D_LONG"), reason="set MSA3D_LONG=1: it takes long")
def test_calwebb_spec2_gives_a_uniform_sky_back(tmp_path, cache):
    path = calwebb_spec2(tmp_path, cache, "PRISM", "CLEAR", "NRS2")
    with datamodels.open(path) as model:
        for step in ("flat_field", "pathloss", "barshadow", "photom"):
            assert getattr(model.meta.cal_step, step) == "COMPLETE"
        assert model.meta.ref_file.crds.context_used == "jwst_0001.pmap"
        (slit,) = model.slits
        check_uniform(slit, SLITLETS["PRISM"], "NRS2")
    made = {file.name.split("_")[-1] for file in tmp_path.glob("jw*_nrs2_*.fits")}
    assert made == {"rate.fits", "cal.fits", "s2d.fits", "x1d.fits"}


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
def test_steps_of_jwst_give_a_uniform_sky_back_with_a_grating(tmp_path, references, detector):
    metafile = write_metafile(tmp_path / "jw09999001001_01_msa.fits", [SLITLETS["G140H"]], 1)
    rate = uniform_rate("G140H", "F100LP", detector, references, metafile)
    model = set_source_type(cut_out(rate, references, metafile))
    flats = {
        "fflat": datamodels.NirspecQuadFlatModel(references["fflat"]),
        "sflat": datamodels.NirspecFlatModel(references["sflat"][detector]),
        "dflat": datamodels.NirspecFlatModel(references["dflat"][detector]),
    }
    model, _ = flat_field.do_correction(model, **flats)
    with datamodels.PathlossModel(references["pathloss"]) as losses:
        model, _ = pathloss.do_correction(model, losses)
    with datamodels.BarshadowModel(references["barshadow"]) as shadow:
        model, _ = jwst_bar_shadow.do_correction(model, shadow)
    DataSet(model).apply_photom(str(references["photom"]), str(references["area"]))
    (slit,) = model.slits
    check_uniform(slit, SLITLETS["G140H"], detector)


def test_jwst_flags_what_a_stuck_shutter_illuminates(tmp_path, references):
    metafile = write_metafile(tmp_path / "jw09999001001_01_msa.fits", [SLITLETS["G140H"]], 1)
    rate = blank("G140H", "F100LP", "NRS1", metafile)
    names = {reftype: str(references[reftype]) for reftype in WCS_TYPES}
    with_wcs = load_wcs(rate, names | {"msametafile": str(metafile)}, SLIT_Y_RANGE)
    flagged = msaflag_open.do_correction(with_wcs, references["msaoper"], names).dq
    rows, columns = np.nonzero(flagged)
    assert set(np.unique(flagged)) == {0, datamodels.dqflags.pixel["MSA_FAILED_OPEN"]}
    # one shutter: about 4.4 rows high, dispersed along the detector
    assert np.median(np.bincount(columns)[np.unique(columns)]) == pytest.approx(4.5, abs=1)
    assert np.ptp(columns) > 500
    assert np.ptp(rows) < 60
