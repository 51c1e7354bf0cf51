"""jwst's calwebb_spec2 on simulated rate images: it finds the light where the simulator put it.

The calibrated slitlets, their WCS and the response (rate over calibrated brightness) are what jwst
made with the local CRDS cache; of the simulator only the record of the truth is used.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import asdf
import numpy as np
import pytest
from astropy.io import fits
from scipy.special import ndtr
from shared_survey import link
from stdatamodels.jwst import datamodels

from msa3d_steps.simulate.exposure import ExposureName
from msa3d_steps.simulate.record import Truth, read_truth
from msa3d_steps.simulate.references.crds import environment
from msa3d_steps.simulate.scene.render import FWHM, LSF_PIXELS
from msa3d_steps.simulate.scene.sources import SPEED_OF_LIGHT

SLIT_WIDTH = 0.1958  # arcsec
TRACE_BOUND = 0.01  # pixel; 0.004 at most in 20 columns
LINE_BOUND = 0.01  # pixel; 0.0002 with the grating, 0.0015 with the prism
QUADRATURE_BOUND = 5e-3  # of the brightest pixel of a column; 0.0033

EXPOSURES = {
    ("G140H", "NRS1"): ExposureName(1, "NRS1"),
    ("G140H", "NRS2"): ExposureName(1, "NRS2"),
    ("PRISM", "NRS1"): ExposureName(1, "NRS1"),
    ("PRISM", "NRS2"): ExposureName(2, "NRS2"),
}
SLITS = {("G140H", "NRS1"): [1], ("G140H", "NRS2"): [1], ("PRISM", "NRS1"): [1, 3],
         ("PRISM", "NRS2"): [2]}  # fmt: skip
LINES = {("G140H", "NRS1"): "Hbeta", ("G140H", "NRS2"): "Halpha",
         ("PRISM", "NRS1"): "Hbeta", ("PRISM", "NRS2"): "Hbeta"}  # fmt: skip
PLACES = [pytest.param(place, id="-".join(place)) for place in SLITS]

IN_PROCESS = """
import sys
from jwst.pipeline import Spec2Pipeline
for name in sys.argv[1:]:
    Spec2Pipeline.call(name, save_results=True, steps={
        "resample_spec": {"skip": True}, "extract_1d": {"skip": True}})
"""


@dataclass(frozen=True)
class Calibrated:
    """An exposure of a detector: the rate image, what jwst and what the simulator made of it."""

    truth: Truth
    rate: np.ndarray
    theirs: datamodels.MultiSlitModel
    ours: datamodels.MultiSlitModel
    noise_free: dict
    stuck_open: list
    flagged: np.ndarray | None

    def points(self):
        """Slitlets of point sources, with their sources."""
        for slit in self.theirs.slits:
            source = self.truth.source(slit.source_id)
            if not hasattr(source, "scale_length"):
                yield slit, source


def run(folder, survey, *command):
    """Run a command in a folder with nothing but the CRDS variables of a survey's cache."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), **environment(survey / "crds")}
    done = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-4000:]


def read(survey, calibrated, name):
    """Read an exposure and what belongs to it."""
    with fits.open(survey / name.file("rate")) as hdus:
        rate = hdus["SCI"].data.astype(float)
    with fits.open(survey / "truth" / name.file("truth")) as hdus:
        noise_free = {
            hdu.header["SOURCEID"]: hdu.data.astype(float)
            for hdu in hdus[1:]
            if hdu.name == "NOISE_FREE"
        }
    theirs = datamodels.open(calibrated / name.file("cal"))
    ours = datamodels.open(survey / name.file("cal"))
    with asdf.open(survey / "truth" / "truth.asdf") as file:
        stuck_open = list(file["stuck_open"])
    flagged = None
    for path in calibrated.glob(f"{name.stem}_msa*flag*.fits"):
        with fits.open(path) as hdus:
            flagged = hdus["DQ"].data & datamodels.dqflags.pixel["MSA_FAILED_OPEN"] > 0
    return Calibrated(read_truth(survey), rate, theirs, ours, noise_free, stuck_open, flagged)


@pytest.fixture(scope="module")
def calibrated(survey_folder, tmp_path_factory):
    """Exposures of each grating and detector; G140H with strun, PRISM with Spec2Pipeline."""
    found = {}
    for grating, kind in (("G140H", "grating"), ("PRISM", "prism")):
        survey = survey_folder(kind)
        names = {place: name for place, name in EXPOSURES.items() if place[0] == grating}
        rates = [name.file("rate") for name in names.values()]
        metafile = ExposureName.metafile()
        folder = link(survey, [*rates, metafile], tmp_path_factory.mktemp("spec2"))
        if grating == "PRISM":
            run(folder, survey, sys.executable, "-c", IN_PROCESS, *rates)
        else:
            strun = Path(sys.executable).with_name("strun")
            options = (
                "--steps.resample_spec.skip=true", "--steps.extract_1d.skip=true",
                "--steps.msa_flagging.save_results=true",
            )  # fmt: skip
            for rate in rates:
                run(folder, survey, strun, "calwebb_spec2", rate, *options)
        found |= {place: read(survey, folder, name) for place, name in names.items()}
    return found


def coordinates(slit):
    """Row, column, ra, dec (deg) and wavelength (um) of all pixels of a slitlet."""
    row, column = np.mgrid[: slit.data.shape[0], : slit.data.shape[1]].astype(float)
    return row, column, *slit.meta.wcs(column, row)


def place_on_slit(slit, source):
    """Distance of all pixels from a source across and along the slit, arcsec, and their height."""
    _, _, ra, dec, _ = coordinates(slit)
    east, north = source.offsets(ra, dec)
    height = np.hypot(np.gradient(east, axis=0), np.gradient(north, axis=0))
    unit_east = np.nanmedian(np.gradient(east, axis=0) / height)
    unit_north = np.nanmedian(np.gradient(north, axis=0) / height)
    across = east * unit_north - north * unit_east
    return across, east * unit_east + north * unit_north, height


def box(place, half, sigma):
    """Share of a Gaussian that falls into boxes."""
    return ndtr((place + half) / sigma) - ndtr((place - half) / sigma)


def profile(psf, lam, across, along, height):
    """Light of a point source in pixels, without anything that changes it on the way."""
    weights, sigmas = psf.components(lam)
    light = 0.0
    for weight, sigma in zip(weights, sigmas, strict=True):
        light += weight * box(across, SLIT_WIDTH / 2, sigma) * box(along, height / 2, sigma)
    return light


@pytest.mark.parametrize("place", PLACES)
def test_every_slitlet_is_found_with_its_source(calibrated, place):
    exposure = calibrated[place]
    assert exposure.theirs.meta.ref_file.crds.context_used == "jwst_0001.pmap"
    for step in ("msa_flagging", "flat_field", "pathloss", "barshadow", "photom"):
        assert getattr(exposure.theirs.meta.cal_step, step) == "COMPLETE"
    assert [slit.source_id for slit in exposure.theirs.slits] == SLITS[place]
    for slit in exposure.theirs.slits:
        source = exposure.truth.source(slit.source_id)
        assert slit.source_name == f"9999_{source.source_id}"
        assert slit.shutter_state == {"G140H": "1x1", "PRISM": "11x11"}[place[0]]
        assert slit.source_type == "EXTENDED"
        assert slit.dither_position == EXPOSURES[place].number
        assert slit.source_ra == pytest.approx(source.ra, abs=1e-9)
        assert slit.source_dec == pytest.approx(source.dec, abs=1e-9)


@pytest.mark.parametrize("place", PLACES)
def test_traces_lie_where_the_wcs_has_the_sources(calibrated, place):
    exposure = calibrated[place]
    for slit, source in exposure.points():
        row, _, _, _, lam = coordinates(slit)
        across, along, height = place_on_slit(slit, source)
        rows = slice(slit.ystart - 1, slit.ystart - 1 + lam.shape[0])
        columns = slice(slit.xstart - 1, slit.xstart - 1 + lam.shape[1])
        response = exposure.rate[rows, columns] / slit.data
        light = exposure.rate[rows, columns] - exposure.truth.scene.background(lam) * response
        expected = response * profile(exposure.truth.psf, lam, across, along, height)
        near = np.abs(along) < 0.5
        whole = np.isfinite(np.where(near, light, 0)).all(axis=0) & (near.sum(axis=0) >= 9)
        assert whole.sum() > 300
        near, light, expected, row = (v[:, whole] for v in (near, light, expected, row))

        def centroids(light, near=near, row=row):
            light = np.where(near, light, 0)
            return (row * light).sum(axis=0) / light.sum(axis=0)

        off = centroids(light) - centroids(expected)
        windows = [np.mean(part) for part in np.array_split(off, whole.sum() // 20)]
        assert np.abs(windows).max() < TRACE_BOUND


@pytest.mark.parametrize("place", PLACES)
def test_lines_lie_at_their_wavelengths(calibrated, place):
    exposure = calibrated[place]
    for slit, source in exposure.points():
        _, column, _, _, lam = coordinates(slit)
        middle = line_column(slit, source, LINES[place])
        along = place_on_slit(slit, source)[1]
        window = slice(middle - 7, middle + 8)
        bright = np.abs(along[:, middle]) < 0.3
        flux, column, lam = (v[bright, window] for v in (slit.data, column, lam))
        sides = (flux[:, :2].mean(axis=1) + flux[:, -2:].mean(axis=1)) / 2
        flux = flux[:, 2:-2] - sides[:, None]
        centre = source.observed(line_of(source, LINES[place]))
        expected = [np.interp(centre, *both) for both in zip(lam, column, strict=True)]
        off = np.average(column[:, 2:-2] - np.array(expected)[:, None], weights=flux)
        assert flux.shape[0] >= 5
        assert abs(off) < LINE_BOUND


def line_of(source, name):
    """Find an emission line of a source."""
    return next(line for line in source.lines if line.name == name)


def line_column(slit, source, name):
    """Column where a source's trace has a line."""
    along = place_on_slit(slit, source)[1]
    lam = coordinates(slit)[-1]
    away = np.abs(lam - source.observed(line_of(source, name)))
    away[~(np.abs(along) < 0.1)] = np.nan
    return int(np.nanargmin(away) % lam.shape[1])


@pytest.mark.parametrize("place", PLACES)
def test_calibrated_brightness_is_that_of_the_scene(calibrated, place):
    exposure = calibrated[place]
    for slit in exposure.theirs.slits:
        scene = exposure.noise_free[slit.source_id]
        good = np.isfinite(slit.data) & np.isfinite(scene)
        lit = good & (slit.barshadow > 0.3)
        assert lit.sum() > 5000
        ratio = slit.data / scene
        # 8e-5 and 2.0e-4, of the linear interpolation in the table of the bar shadow
        np.testing.assert_allclose(ratio[lit], 1, atol=2e-4)
        np.testing.assert_allclose(ratio[good], 1, atol=5e-4)


def quadrature(exposure, slit, source, line, row, column):
    """Average a scene over slit width, pixel height and bandpass with jwst's WCS alone.

    The line spread function is put into the velocity dispersion of the point source.
    """
    wcs = slit.meta.wcs
    to_slit = wcs.get_transform("detector", "slit_frame")
    _, y_slit, lam = to_slit(
        column + np.array([0.0, 0, 0, -0.5, 0.5]), row + np.array([0, -0.5, 0.5, 0, 0.0])
    )
    lam = lam * 1e6
    bandpass, height = abs(lam[4] - lam[3]), abs(y_slit[2] - y_slit[1])
    node, weight = np.polynomial.legendre.leggauss(16)
    across, along, band = np.meshgrid(node / 2, node / 2, node / 2, indexing="ij")
    to_world = wcs.get_transform("slit_frame", "world")
    y, middle = (y_slit[0] + along * height).ravel(), np.full(across.size, lam[0] * 1e-6)
    ra, dec = to_world(across.ravel(), y, middle)[:2]
    spread = LSF_PIXELS * bandpass / FWHM / source.observed(line) * SPEED_OF_LIGHT
    blurred = replace(source, dispersion=float(np.hypot(source.dispersion, spread)))
    scene = replace(exposure.truth.scene, sources=(blurred,))
    shown = scene.brightness(ra, dec, (lam[0] + band * bandpass).ravel(), exposure.truth.psf)
    return np.average(shown, weights=np.einsum("i,j,k->ijk", weight, weight, weight).ravel())


@pytest.mark.parametrize("place", PLACES)
def test_calibrated_brightness_is_the_scene_integrated_over_the_pixels(calibrated, place):
    exposure = calibrated[place]
    for slit, source in exposure.points():
        along = place_on_slit(slit, source)[1]
        line, at_line = line_of(source, LINES[place]), line_column(slit, source, LINES[place])
        for column in (at_line, at_line + 1, at_line - 30, at_line - 100):
            middle = np.nanargmin(np.abs(along[:, column]))
            for row in range(middle - 1, middle + 2):
                integral = quadrature(exposure, slit, source, line, row, column)
                brightest = np.nanmax(slit.data[:, column])
                assert abs(slit.data[row, column] - integral) < QUADRATURE_BOUND * brightest


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
def test_a_stuck_shutter_sheds_light_where_jwst_flags_it(calibrated, detector):
    exposure = calibrated["G140H", detector]
    light = exposure.rate > 0
    for slit in exposure.theirs.slits:
        rows = slice(slit.ystart - 1, slit.ystart - 1 + slit.ysize)
        columns = slice(slit.xstart - 1, slit.xstart - 1 + slit.xsize)
        assert not exposure.flagged[rows, columns].any()
        light[rows, columns] = False
    assert light.sum() > 4000  # 4.3 rows
    assert exposure.flagged[light].all()
    # but for reference pixels and what no photometry is known for, light is wherever flags are
    inside = exposure.flagged[4:-4, 4:-4]
    assert np.mean(light[4:-4, 4:-4][inside]) == 1


def test_the_stuck_shutter_of_the_truth_is_that_of_the_cache(calibrated):
    exposure = calibrated["G140H", "NRS1"]
    folder = exposure.truth.folder.parent / "crds" / "references" / "jwst" / "nirspec"
    (shutter,) = json.loads((folder / "jwst_nirspec_msaoper_0001.json").read_text())["msaoper"]
    assert exposure.stuck_open == [shutter["Q"], shutter["x"], shutter["y"]]
    assert shutter["state"] == "open"


@pytest.mark.parametrize("place", PLACES)
def test_simulated_cal_is_what_jwst_makes_of_the_rate(calibrated, place):
    exposure = calibrated[place]
    ours, theirs = exposure.ours, exposure.theirs
    (words, numbers), (their_words, their_numbers) = metadata(ours), metadata(theirs)
    assert words == their_words
    assert numbers == pytest.approx(their_numbers, rel=1e-6)
    for own, slit in zip(ours.slits, theirs.slits, strict=True):
        for name in ("data", "err", "var_poisson", "var_rnoise", "var_flat", "wavelength"):
            np.testing.assert_allclose(getattr(own, name), getattr(slit, name), rtol=5e-4)
        np.testing.assert_array_equal(own.dq, slit.dq)
        for mine, other in zip(coordinates(own), coordinates(slit), strict=True):
            np.testing.assert_array_equal(mine, other)


NOT_COMPARED = (
    "history", "cal_logs", "_fits_hash", "meta.asn", "meta.calibration_software", "meta.date",
    "meta.ref_file", "meta.cal_step.master_background", "meta.wcsinfo.spectral_region",
)  # fmt: skip
"""Dates, versions, names of reference files; that jwst found no slitlet of pure background for its
master background. Nor are compared how a WCS is stored (its values are), and of a single slitlet
which steps were done and from which file jwst cut it out."""


def metadata(model):
    """Everything else that calibrated exposures and slitlets say, in words and in numbers."""
    words, numbers = {}, {}
    for key, value in model.to_flat_dict(include_arrays=False).items():
        label = re.sub(r"^slits\.\d+\.", "", key)
        of_slit = label != key
        if label.startswith(NOT_COMPARED) or label == "meta.wcs" or label.startswith("meta.wcs."):
            continue
        if of_slit and label.startswith(("meta.cal_step", "meta.filename")):
            continue
        (numbers if isinstance(value, float) else words)[key] = value
    return words, numbers
