"""jwst's own extraction takes our cubes: what it sums is what is in the aperture."""

import asdf
import numpy as np
import pytest
from astropy.io import fits
from empty_crds import empty_cache
from jwst.extract_1d import Extract1dStep
from jwst.extract_1d.apply_apcorr import select_apcorr
from jwst.extract_1d.ifu import ifu_extract1d
from photutils.aperture import CircularAnnulus, CircularAperture
from scene import as_model
from stdatamodels.jwst import datamodels

from msa3d_steps import MSA3DCubeStep, MSACubeModel

RADIUS, INNER, OUTER = 0.3, 0.5, 0.8  # arcsec
JY = 1e6  # per MJy


@pytest.fixture(scope="module")
def cubes(small_survey, tmp_path_factory):
    """Paths of a linear cube along north and of one with a wavelength table along the slits."""
    folder = tmp_path_factory.mktemp("extract")
    result = {}
    for name, linear, axes in (("linear", True, "skyalign"), ("table", False, "msaalign")):
        cube = MSA3DCubeStep.call(
            [as_model(s) for s in small_survey], linear_wave=linear, coord_system=axes,
            wavemin=1.05, wavemax=1.12,
        )[0]  # fmt: skip
        result[name] = cube.save(str(folder / f"{name}_s3d.fits"))
        cube.close()
    return result


@pytest.fixture
def reference(tmp_path):
    """Path of an EXTRACT1D reference file: radius and annulus, the same at all wavelengths."""
    path = tmp_path / "extract1d.asdf"
    radius, inner, outer = (np.full(2, r, "f4") for r in (RADIUS, INNER, OUTER))
    asdf.AsdfFile(
        {
            "meta": {"subtract_background": False, "method": "exact", "subpixels": 10},
            "data": {
                "wavelength": np.array([0.5, 6], "f4"),
                "radius": radius, "inner_bkg": inner, "outer_bkg": outer,
            },
        }
    ).write_to(path, all_array_storage="inline")  # fmt: skip
    return str(path)


@pytest.fixture
def crds(tmp_path, monkeypatch):
    """A CRDS cache without anything: the step asks it."""
    (tmp_path / "crds").mkdir()
    for name, value in empty_cache(tmp_path / "crds").items():
        monkeypatch.setenv(name, value)


def sums(cube, x, y):
    """Flux (Jy), quadratic sum of ERR (Jy) and number of spaxels in the circle; by photutils."""
    scale = cube.meta.wcsinfo.cdelt2 * 3600
    area = cube.meta.photometry.pixelarea_steradians * JY
    circle = CircularAperture((x, y), RADIUS / scale)

    def over(images):
        return np.array([circle.do_photometry(np.nan_to_num(i))[0][0] for i in images])

    covered = np.isfinite(cube.data).astype(float)
    return area * over(cube.data), area * np.sqrt(over(cube.err**2)), over(covered)


def source_place(cube):
    """Place of the source in the cube, spaxels from 0."""
    meta = cube.meta.msa3d
    return cube.meta.wcs.invert(meta.source_ra, meta.source_dec, cube.wavelengths[0])[:2]


@pytest.mark.filterwarnings("ignore:.*get_cache_lock:DeprecationWarning")  # of stpipe
@pytest.mark.parametrize("kind", ["linear", "table"])
def test_the_step_sums_a_circle(kind, cubes, reference, crds):
    """Flux, error and wavelengths to 1e-6; stock jwst opens the cube, and leaves it as it is."""
    with MSACubeModel(cubes[kind]) as cube:
        x, y = source_place(cube)
        flux, error, number = sums(cube, x, y)
        wavelengths, factor = cube.wavelengths, cube.correlation_factor(number[0])
    assert factor > 1.2  # so that it is seen below
    with datamodels.open(cubes[kind]) as cube:
        assert type(cube) is datamodels.IFUCubeModel
        assert cube.meta.exposure.type == "NRS_MSASPEC"
        cube.meta.target.source_type = "POINT"
        weight = cube.weightmap.copy()
        result = Extract1dStep.call(
            cube, override_extract1d=reference, override_psf="N/A", apply_apcorr=False,
            center_xy=[x, y], ifu_covar_scale=factor,
        )  # fmt: skip
        np.testing.assert_array_equal(cube.weightmap, weight)
    spectrum = result.spec[0].spec_table
    assert result.meta.cal_step.extract_1d == "COMPLETE"
    np.testing.assert_allclose(spectrum["flux"], flux, rtol=1e-6)  # 5e-8 measured
    np.testing.assert_allclose(spectrum["flux_error"], factor * error, rtol=1e-6)
    np.testing.assert_allclose(spectrum["wavelength"], wavelengths, rtol=1e-6)
    assert not spectrum["dq"].any()
    assert (result.spec[0].extraction_x, result.spec[0].extraction_y) == pytest.approx((x, y))


@pytest.mark.filterwarnings("ignore:.*get_cache_lock:DeprecationWarning")  # of stpipe
def test_the_step_sums_the_field_by_default(cubes, reference, crds):
    """A cube says that its source is extended."""
    with MSACubeModel(cubes["linear"]) as cube:
        area = cube.meta.photometry.pixelarea_steradians * JY
        flux = area * np.nansum(cube.data, axis=(1, 2), dtype=float)
    result = Extract1dStep.call(
        cubes["linear"], override_extract1d=reference, override_psf="N/A", apply_apcorr=False
    )
    np.testing.assert_allclose(result.spec[0].spec_table["flux"], flux, rtol=1e-6)
    assert result.spec[0].source_type == "EXTENDED"


@pytest.mark.parametrize("unit", [1.0, 1e5])
def test_background_and_mean_with_weights_of_0_and_1(unit, small_survey, reference):
    """With WMAP of 0 and 1, areas are those of spaxels, whatever the weights were.

    Otherwise they are not: jwst takes weights below 1 for parts of spaxels. The mean is off by
    4% with weights of about 2, which are less at the rim, and by a factor of thousands with 2e-5.
    """
    models = [as_model(s) for s in small_survey]
    for model in models:
        model.var_rnoise *= unit / 1e-4
    cube = MSA3DCubeStep.call(models, weighting="ivm", wavemin=1.05, wavemax=1.06)[0]
    x, y = source_place(cube)
    flux, _, number = sums(cube, x, y)
    scale = cube.meta.wcsinfo.cdelt2 * 3600
    area = cube.meta.photometry.pixelarea_steradians * JY
    ring = CircularAnnulus((x, y), INNER / scale, OUTER / scale)
    in_ring = [ring.do_photometry(i)[0][0] for i in np.isfinite(cube.data).astype(float)]
    background = [ring.do_photometry(np.nan_to_num(i))[0][0] for i in cube.data]
    expected = flux - area * np.divide(background, in_ring) * number
    raw = ifu_extract1d(cube.copy(), reference, "POINT", True, 99.0, center_xy=(x, y))
    cube.weightmap = (cube.weightmap > 0).astype("f4")
    result = ifu_extract1d(cube, reference, "POINT", True, 99.0, center_xy=(x, y))
    spectrum = result.spec[0].spec_table
    np.testing.assert_allclose(spectrum["npixels"], number, rtol=1e-6)
    np.testing.assert_allclose(spectrum["flux"], expected, rtol=1e-6)
    np.testing.assert_allclose(spectrum["surf_bright"], expected / area / number, rtol=1e-6)
    ratio = raw.spec[0].spec_table["surf_bright"] / spectrum["surf_bright"]
    low, high = (1.01, 1.1) if unit == 1 else (1000, np.inf)
    assert (ratio > low).all()
    assert (ratio < high).all()


def test_the_aperture_correction_of_mos_is_for_slits(cubes):
    """The text says so: it cannot follow a radius."""
    with MSACubeModel(cubes["linear"]) as cube:
        correction = select_apcorr(cube)
    assert correction.__name__ == "ApCorrPhase"
    assert not hasattr(correction, "match_wavelengths")


@pytest.mark.parametrize("kind", ["linear", "table"])
def test_places_of_all_wavelengths_can_be_inverted(kind, cubes):
    """The way to center_xy, from the first channel to the last."""
    with MSACubeModel(cubes[kind]) as cube:
        for channel in (0, 3, cube.shape[0] - 1):
            back = cube.meta.wcs.invert(*cube.meta.wcs(2, 1, channel))
            assert back == pytest.approx((2, 1, channel), abs=1e-6)
        assert np.isfinite(source_place(cube)).all()


def test_the_direction_of_dispersion_is_in_the_header(cubes):
    """As in jwst's cubes: without it jwst cannot tell the size of a spaxel."""
    assert fits.getval(cubes["linear"], "DISPAXIS", "SCI") == 1
