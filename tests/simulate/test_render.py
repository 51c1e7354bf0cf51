"""What a slitlet shows: the closed form against quadrature of the scene's brightness."""

import itertools

import numpy as np
import pytest
from astropy.wcs import WCS
from scipy.special import ndtr

from msa3d_steps.simulate.scene.psf import Psf
from msa3d_steps.simulate.scene.render import FWHM, LSF_PIXELS, SlitOnSky, SlitPixels, observe
from msa3d_steps.simulate.scene.sources import Galaxy, Line, PointSource, Scene

C = 299792.458  # km/s
BOUND = 2e-5
SCALE, HEIGHT = 0.4575, 0.2284  # arcsec of an open shutter; of a pixel, in shutters
LINE = Line("Halpha", 0.656461, 40.0)
CENTRE = 2 * LINE.wavelength
BANDPASS = 2.3e-4  # um
PSF = Psf.gaussian()
PLACE = {"ra": 150.0, "dec": 2.0, "redshift": 1.0}
GALAXY = Galaxy(
    1, **PLACE, lines=(LINE,), scale_length=0.25, truncation=2.0, position_angle=70.0,
    clumps=((0.2, 0.1, 0.1),),
)  # fmt: skip
GLOW = Galaxy(2, **PLACE, continuum=6.0, slope=0.5, scale_length=0.25, truncation=2.0, bulge=0.3)
STAR = PointSource(3, **PLACE, lines=(LINE,), dispersion=60.0)


def to_ra_dec(source, east, north):
    """Positions (deg) at offsets in the tangent plane of a source (arcsec), by astropy."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [source.ra, source.dec]
    wcs.wcs.cdelt = [1 / 3600, 1 / 3600]
    wcs.wcs.crpix = [1, 1]
    return [np.asarray(values) for values in wcs.pixel_to_world_values(east, north)]


def slit(source=GALAXY, angle=30.0, across=0.0, along=0.0, width=0.1958):
    """Put a slit at an angle (deg east of north), off the source (arcsec)."""
    east, north = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    at = to_ra_dec(source, across * north + along * east, -across * east + along * north)
    return SlitOnSky(float(at[0]), float(at[1]), (SCALE * east, SCALE * north), width)


def pixels(shape=(25, 31), tilt=0.0, shear=0.0, bandpass=BANDPASS, growth=0.0, middle=CENTRE):
    """Make pixels about a wavelength; tilt and shear change y_slit and lam along the other axis."""
    row, column = np.mgrid[: shape[0], : shape[1]].astype(float)
    row, column = row - (shape[0] - 1) / 2, column - (shape[1] - 1) / 2
    lam = middle + bandpass * (column + 0.5 * growth * column**2) + shear * bandpass * row
    y_slit = HEIGHT * (row + 0.13) + tilt * HEIGHT * column
    return SlitPixels(lam, y_slit, bandpass * (1 + growth * column), HEIGHT)


def legendre(half_width, n):
    """Nodes and weights for the mean over a box."""
    node, weight = np.polynomial.legendre.leggauss(n)
    return node * half_width, weight / 2


def brute_force(scene, psf, slit, pixels, at, of_line=True):
    """Average the scene's brightness over slit width, pixel height, bandpass and LSF at a pixel.

    Bandpass and LSF belong to lines alone; their kernel is summed over the wavelengths of the line.
    """
    source = scene.sources[0]
    rules = [legendre(slit.width / 2, 16), legendre(pixels.height * slit.scale / 2, 14)]
    rules.append((pixels.lam[at][None], np.ones(1)))
    if of_line:
        rules[-1] = spectral_kernel(pixels.lam[at], pixels.dispersion(CENTRE))
    nodes = np.array(list(itertools.product(*(rule[0] for rule in rules)))).T
    weights = np.prod(list(itertools.product(*(rule[1] for rule in rules))), axis=1)
    unit_east, unit_north = np.array(slit.along) / slit.scale
    origin = source.offsets(slit.ra, slit.dec)
    across, along = nodes[0], nodes[1] + pixels.y_slit[at] * slit.scale
    east = origin[0] + across * unit_north + along * unit_east
    north = origin[1] - across * unit_east + along * unit_north
    ra, dec = to_ra_dec(source, east, north)
    parts = zip(*(np.array_split(values, 8) for values in (ra, dec, nodes[2])), strict=True)
    return weights @ np.concatenate([scene.brightness(*part, psf) for part in parts])


def spectral_kernel(lam, dispersion):
    """Wavelengths over a line, and the weight of each in a pixel at ``lam``: box times Gaussian."""
    sigma = LSF_PIXELS * dispersion / FWHM
    step = CENTRE * 35 / C  # km/s; lines are 40 km/s wide and trapezia right to 1e-11
    node = CENTRE + step * np.arange(-17, 18)
    offset = (np.array([[0.5], [-0.5]]) * dispersion + lam - node) / sigma
    return node, (ndtr(offset[0]) - ndtr(offset[1])) / dispersion * step


def check(scene, psf, place, where, points, of_line=True):
    """Hold pixels against brute force, relative to the brightest pixel of them and each."""
    shown = observe(scene, psf, place, where)
    expected = [brute_force(scene, psf, place, where, at, of_line) for at in points]
    got = [shown[at] for at in points]
    np.testing.assert_allclose(got, expected, rtol=BOUND, atol=1e-8 * shown.max())
    assert min(expected) > 1e-5 * shown.max()


def test_line_of_a_galaxy_near_its_peak_and_in_its_wings():
    check(Scene((GALAXY,)), PSF, slit(across=0.05), pixels(), [(12, 15), (13, 11), (10, 19)])


def test_line_of_a_galaxy_in_a_slit_beside_it():
    check(Scene((GALAXY,)), PSF, slit(across=0.35, along=0.2), pixels(), [(12, 14), (9, 16)])


def test_line_in_a_tilted_slit_with_curved_wavelengths():
    where = pixels(tilt=0.004, shear=0.15, growth=2e-3)
    check(Scene((GALAXY,)), PSF, slit(across=-0.1, angle=200.0), where, [(12, 15), (14, 12)])


def test_line_of_a_point_source():
    place = slit(STAR, across=0.08, along=0.03)
    check(Scene((STAR,)), PSF, place, pixels(), [(12, 15), (11, 15), (13, 18), (10, 13)])


@pytest.mark.parametrize("psf", [PSF, Psf.moffat(n_components=4)], ids=["gaussian", "moffat"])
def test_continuum_of_a_galaxy(psf):
    points = [(12, 3), (11, 15), (14, 28)]
    check(Scene((GLOW,)), psf, slit(across=0.07), pixels(), points, of_line=False)


def test_line_through_a_moffat_psf():
    psf = Psf.moffat(n_components=4)
    place = slit(STAR, across=0.08)
    check(Scene((STAR,)), psf, place, pixels(), [(12, 15), (16, 15), (13, 17)])


def test_continuum_over_the_range_of_the_prism():
    """From 0.6 to 5.3 um, bandpass from 0.018 to 0.004 um; the width of the PSF grows fivefold."""
    lam = np.geomspace(0.6, 5.3, 340)
    row = np.arange(15.0)[:, None] - 7
    where = SlitPixels(
        np.broadcast_to(lam, (15, 340)).copy(), np.broadcast_to(HEIGHT * row, (15, 340)).copy(),
        np.broadcast_to(np.gradient(lam), (15, 340)).copy(), HEIGHT,
    )  # fmt: skip
    points = [(7, 0), (7, 100), (8, 250), (6, 339), (9, 170)]
    check(Scene((GLOW,)), PSF, slit(across=0.07), where, points, of_line=False)
    line = Scene((GALAXY,))
    at = int(np.argmin(np.abs(lam - CENTRE)))
    check(line, PSF, slit(across=0.07), where, [(7, at), (8, at + 1)])


def test_background_alone():
    scene = Scene((), 0.2, -0.4)
    where = pixels()
    np.testing.assert_allclose(
        observe(scene, PSF, slit(), where), 0.2 * (where.lam / 1.3) ** -0.4, rtol=1e-14
    )


def test_sources_add_to_the_background():
    where, place = pixels(), slit(across=0.05)
    parts = [observe(Scene((s,)), PSF, place, where) for s in (GALAXY, GLOW)]
    sky = observe(Scene((), 0.2), PSF, place, where)
    whole = observe(Scene((GALAXY, GLOW), 0.2), PSF, place, where)
    np.testing.assert_allclose(whole, sky + sum(parts), rtol=1e-12)


@pytest.mark.parametrize("far", [{"across": 5.0}, {"along": 30.0}, {"across": 400.0}])
def test_a_slit_far_from_the_source_shows_the_background(far):
    where = pixels()
    np.testing.assert_array_equal(
        observe(Scene((GALAXY, GLOW), 0.2), PSF, slit(**far), where),
        observe(Scene((), 0.2), PSF, slit(**far), where),
    )


def test_a_line_outside_the_wavelengths_is_not_there():
    where = pixels(middle=2.5)
    assert np.abs(observe(Scene((GALAXY,)), PSF, slit(), where)).max() == 0


def test_no_pixel_is_negative():
    shown = observe(Scene((GALAXY, STAR)), PSF, slit(across=0.05), pixels(shape=(61, 201)))
    assert shown.min() > -1e-7 * shown.max()


def test_pixels_outside_the_slit_are_nan_and_change_no_others():
    where = pixels()
    cut = pixels()
    cut.lam[:3], cut.lam[:, 20:] = np.nan, np.nan
    cut.y_slit[:3], cut.y_slit[:, 20:] = np.nan, np.nan
    scene = Scene((GALAXY, GLOW), 0.2)
    shown, whole = (observe(scene, PSF, slit(), p) for p in (cut, where))
    assert np.isnan(shown[:3]).all()
    assert np.isnan(shown[:, 20:]).all()
    np.testing.assert_allclose(shown[3:, :20], whole[3:, :20], rtol=1e-5)


def test_a_slit_without_pixels_is_all_nan():
    where = pixels()
    where.lam[:] = np.nan
    shown = observe(Scene((GALAXY, GLOW), 0.2), PSF, slit(), where)
    assert shown.shape == where.lam.shape
    assert np.isnan(shown).all()


def test_slits_side_by_side_see_all_the_light():
    """Flux of a star summed over 9 slits of no gap, rows and channels: that of the line."""
    where = pixels(shape=(31, 41))
    width = 0.2
    total = 0.0
    for across in width * np.arange(-4, 5):
        shown = observe(Scene((STAR,)), PSF, slit(STAR, across=across, width=width), where)
        total += shown.sum() * width * HEIGHT * SCALE * BANDPASS
    assert total == pytest.approx(STAR.line_brightness(LINE), rel=2e-5)


def test_coordinates_of_a_slit():
    place = slit(angle=90.0, across=0.3, along=-0.2)
    across, along = place.coordinates(GALAXY, np.array([0.0, 1.0]), np.array([0.0, 0.0]))
    np.testing.assert_allclose(along, [0.2, 1.2], atol=1e-6)
    np.testing.assert_allclose(across, [-0.3, -0.3], atol=1e-6)
    assert place.scale == pytest.approx(SCALE)
