"""The sparse geometry against direct evaluation of the WCS at every pixel."""

import gwcs
import numpy as np
import pytest
from astropy.modeling.models import Const1D, Identity, Mapping, Polynomial2D
from astropy.wcs import WCS
from scene import Y_UNIT, synthetic_template
from stdatamodels.jwst.transforms.models import Logical

from msa3d_steps.cube.footprint import footprint_from_wcs
from msa3d_steps.cube.sources import cutout_from_slit
from msa3d_steps.cube.tangent import from_plane, to_plane
from msa3d_steps.cube.transforms import frame_names, transform_between
from msa3d_steps.errors import InputError


def compare(wcs, usable):
    """Largest differences: wavelength and place along the slit in pixels, sky in mas.

    At all pixels of all columns that have data.
    """
    footprint = footprint_from_wcs(wcs, usable)
    ny = usable.shape[0]
    first, last = footprint.columns
    worst = np.zeros(3)
    # at pixel middles and at pixel edges
    for dx, dy in ((0, 0), (0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)):
        columns, rows = np.arange(first, last + 1) + dx, np.arange(ny) + dy
        x, y = np.meshgrid(columns, rows)
        _, y_slit, lam = wcs.get_transform(frame_names(wcs)[0], "slit_frame")(x, y)
        bandpass = np.abs(np.gradient(lam * 1e6, axis=1))
        height = np.abs(np.gradient(y_slit, axis=0))
        found = footprint.wavelength(columns, rows), footprint.along(columns, rows)
        ra, dec, _ = wcs(x, y, with_bounding_box=False)
        center = footprint.center
        offset, matrix = footprint.to_plane(*center)
        place = offset[:, None, None] + np.einsum("i,ab->iab", matrix[:, 1], found[1])
        sky = np.hypot(*(place - np.stack(to_plane(ra, dec, *center)))) * 1e3
        new = [
            np.nanmax(np.abs(found[0] - lam * 1e6) / bandpass),
            np.nanmax(np.abs(found[1] - y_slit) / height),
            np.nanmax(sky[np.isfinite(lam)]),
        ]
        worst = np.maximum(worst, new)
    return worst


def test_real_exposures(real_models):
    """Within 0.005 pixel in wavelength and along the slit and 1 mas: the promise of the docs."""
    for model in real_models:
        wavelength, along, sky = compare(model.meta.wcs, np.isfinite(model.data))
        assert wavelength < 0.001  # 1.5e-4 measured; its table of the prism is linear in pieces
        assert along < 1e-6
        assert sky < 0.1  # mas; the slit's own curvature


def test_real_slit_edges(real_models):
    """The corners of the open slit lie where slit_frame -> world has them."""
    wcs = real_models[0].meta.wcs
    footprint = footprint_from_wcs(wcs, np.isfinite(real_models[0].data))
    x, y = (a.ravel() for a in np.meshgrid([-0.5, 0.5], np.linspace(*footprint.limits, 9)))
    for lam in (1e-6, 3e-6, 5e-6):
        ra, dec, _ = wcs.get_transform("slit_frame", "world")(x, y, np.full(x.size, lam))
        offset, matrix = footprint.to_plane(*footprint.center)
        place = offset[:, None] + matrix @ np.stack([x, y])
        sky = np.hypot(*(place - np.stack(to_plane(ra, dec, *footprint.center))))
        assert sky.max() < 1e-4  # arcsec


def test_synthetic_tilt_and_curvature(synthetic):
    template, sampling = synthetic
    wavelength, along, sky = compare(template.wcs, sampling.finite)
    assert max(wavelength, along) < 1e-6
    assert sky < 1e-3


def band(shape, drift, half):
    """A slit that lights a few rows, which drift across the cutout; its WCS is NaN off the slit."""
    ny, nx = shape
    pixel = -0.1045 / Y_UNIT
    wavelength = Polynomial2D(2, c0_0=1e-6, c1_0=2.4e-10, c0_1=2.4e-11, c2_0=3e-15)
    y_slit = Polynomial2D(
        2, c0_0=pixel * (drift - ny + 1) / 2, c0_1=pixel, c1_0=-1.3 * pixel * drift / nx,
        c2_0=0.3 * pixel * drift / nx**2,
    )  # fmt: skip
    edges = Logical("GT", half, np.nan) | Logical("LT", -half, np.nan)
    to_slit = Mapping((0, 0, 1, 0, 1), n_inputs=2) | Const1D(0) & y_slit & wavelength
    steps = [(s.frame, s.transform) for s in synthetic_template(shape=shape).wcs.pipeline]
    steps[1] = (steps[1][0], to_slit | Identity(1) & edges & Identity(1))
    return gwcs.WCS(steps)


@pytest.mark.parametrize(
    ("shape", "drift", "half"),
    [((40, 2048), 22, 0.6), ((40, 2048), 22, 1.2), ((40, 2048), 30, 0.35), ((12, 341), 1, 0.6)],
)
@pytest.mark.parametrize("part", [slice(None), slice(0, 600), slice(200, 210)])
def test_narrow_slits_and_drifting_traces(shape, drift, half, part):
    """Three to ten lit rows that wander over the cutout, also where a gap cuts the slit short."""
    wcs = band(shape, drift, half)
    x, y = np.meshgrid(np.arange(float(shape[1])), np.arange(float(shape[0])))
    usable = np.zeros(shape, bool)
    lit = np.isfinite(wcs.get_transform("detector", "slit_frame")(x, y)[1])
    usable[:, part] = lit[:, part]
    wavelength, along, sky = compare(wcs, usable)
    assert max(wavelength, along) < 1e-3  # at edges half a pixel beyond the last one known
    assert sky < 1e-2


def test_transforms_are_those_of_gwcs(real_models):
    wcs = real_models[0].meta.wcs
    x, y = (a.ravel().astype(float) for a in np.meshgrid(np.arange(0, 341, 17), np.arange(25)))
    found = transform_between(wcs, "detector")(x, y)
    expected = wcs(x, y, with_bounding_box=False)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, equal_nan=True)


def test_slit_geometry_is_that_of_nirspec(real_models):
    """0.1958 arcsec wide, 0.4575 for one y_slit, 0.1045 for one pixel."""
    footprint = footprint_from_wcs(real_models[0].meta.wcs, np.isfinite(real_models[0].data))
    _, matrix = footprint.to_plane(*footprint.center)
    np.testing.assert_allclose(np.hypot(*matrix), [0.1958, 0.4575], atol=1e-4)
    assert footprint.pixel_height == pytest.approx(0.1045, abs=1e-4)


def test_no_wavelength_is_an_error():
    template = synthetic_template()
    usable = np.ones(template.shape, bool)

    nan = Mapping((0, 0, 0), n_inputs=2) | Const1D(0) & Const1D(np.nan) & Const1D(np.nan)
    steps = [(s.frame, s.transform) for s in template.wcs.pipeline]
    steps[1] = (steps[1][0], nan)
    with pytest.raises(InputError, match="no wavelength"):
        footprint_from_wcs(gwcs.WCS(steps), usable)


def test_rectified_spectrum(synthetic):
    """A WCS that knows sky and wavelength only gives the same strip of sky."""
    template, sampling = synthetic
    wcs = template.wcs
    whole = wcs.get_transform("detector", "world")
    frames = [wcs.pipeline[0].frame, wcs.pipeline[-1].frame]
    rectified = gwcs.WCS([(frames[0], whole), (frames[1], None)])
    usable = sampling.finite
    a, b = footprint_from_wcs(wcs, usable), footprint_from_wcs(rectified, usable)
    center = a.center
    for footprint in (a, b):
        assert footprint.pixel_height == pytest.approx(0.1045, abs=1e-4)
    corners = []
    for footprint in (a, b):
        offset, matrix = footprint.to_plane(*center)
        box = [[x, y] for x in (-0.5, 0.5) for y in footprint.limits]
        corners.append(np.sort((offset + np.array(box) @ matrix.T), axis=0))
    np.testing.assert_allclose(corners[0], corners[1], atol=0.03)  # arcsec; the trace is not level


def test_tangent_plane_round_trip():
    ra, dec = 150.0, -72.0
    xi, eta = np.random.default_rng(1).uniform(-30, 30, (2, 50))
    there = from_plane(xi, eta, ra, dec)
    np.testing.assert_allclose(to_plane(*there, ra, dec), [xi, eta], atol=1e-9)


def test_tangent_plane_is_that_of_fits():
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [10.0, 85.0]
    wcs.wcs.crpix, wcs.wcs.cdelt = [1, 1], [1 / 3600, 1 / 3600]
    ra, dec = from_plane(np.array([0.0, 3.0, -4.0]), np.array([0.0, -2.0, 5.0]), 10.0, 85.0)
    np.testing.assert_allclose(wcs.wcs_world2pix(ra, dec, 0), [[0, 3, -4], [0, -2, 5]], atol=1e-8)


def test_ends_beyond_the_open_shutters_are_left_out(real_models):
    """The three exposures are nods: the source is in the middle, the first and the last shutter.

    A shutter is open over 1, its neighbours are 1.15 away; jwst cuts half a shutter more out.
    """
    openings = {"1x1": (-1.65, 1.65), "x11": (-0.5, 2.8), "11x": (-2.8, 0.5)}
    for model in real_models:
        cutout = cutout_from_slit(model, model.meta, "x.fits")
        half_a_pixel = 0.5 * cutout.footprint.row_height
        opening = openings[model.shutter_state]
        assert cutout.footprint.limits == pytest.approx(opening, abs=1.1 * half_a_pixel)
        columns = np.arange(model.data.shape[1] * 1.0)
        y_slit = cutout.footprint.along(columns, np.arange(model.data.shape[0] * 1.0))
        inside = (y_slit > opening[0]) & (y_slit < opening[1])
        assert np.isnan(cutout.data[~inside]).all()
        # the light ends there: what is left out has 15% of the brightness of what stays
        outside = ~inside & np.isfinite(model.data)
        dark, bright = np.median(model.data[outside]), np.nanmedian(cutout.data)
        assert 0 < dark < 0.3 * bright
