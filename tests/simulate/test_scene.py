"""The scene: fluxes, rotation, shapes and places are those that were asked for."""

import numpy as np
import pytest
from astropy import constants
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS
from scipy.special import gammainc

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.scene.psf import Psf
from msa3d_steps.simulate.scene.sources import (
    LINE_TABLE,
    Galaxy,
    Line,
    PointSource,
    Scene,
    galaxy_lines,
)

C = 299792.458  # km/s
LINE = Line("Halpha", 0.656461, 40.0)
PSF = Psf.gaussian()
GALAXY = Galaxy(
    7, 150.0, 2.0, 1.0, (LINE,), 6.0, 0.4, scale_length=0.2, truncation=2.0, bulge=0.2,
    clumps=((0.15, 0.1, 0.05),),
)  # fmt: skip
POINT = PointSource(8, 150.0, 2.0, 1.0, (LINE,), 6.0, 0.4, dispersion=60.0)


def tangent(source):
    """Make astropy's tangent plane about a source, in arcsec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [source.ra, source.dec]
    wcs.wcs.cdelt = [1 / 3600, 1 / 3600]
    wcs.wcs.crpix = [1, 1]
    return wcs


def grid(half, step):
    """Offsets on a square, arcsec, as flat arrays."""
    axis = np.arange(-half, half + step / 2, step)
    return (values.ravel() for values in np.meshgrid(axis, axis))


def disk(**changes):
    """A plain disk."""
    values = {"scale_length": 0.3, "inclination": 60.0, "position_angle": 30.0} | changes
    return Galaxy(1, 10.0, -20.0, **values)


@pytest.mark.parametrize("source", [GALAXY, POINT], ids=["galaxy", "point"])
def test_line_flux_is_what_was_asked_for(source):
    step = 0.04
    ra, dec = tangent(source).pixel_to_world_values(*grid(0.72, step))
    lam0 = 2 * LINE.wavelength
    lam = lam0 * (1 + np.linspace(-500, 500, 25) / C)
    line_only = Scene((type(source)(**{**vars(source), "continuum": 0.0}),))
    shown = [line_only.brightness(ra, dec, np.full(ra.size, x), PSF).sum() for x in lam]
    per_frequency = np.array(shown) * u.MJy / u.sr * (step * u.arcsec) ** 2
    per_wavelength = (per_frequency * constants.c / (lam * u.um) ** 2).to(u.W / u.m**2 / u.um)
    flux = np.sum(per_wavelength) * (lam[1] - lam[0]) * u.um
    # 3e-6 is left by lam^2 / c being taken at the systemic wavelength
    assert flux.to_value(u.W / u.m**2) == pytest.approx(40e-20, rel=1e-5)


@pytest.mark.parametrize("source", [GALAXY, POINT], ids=["galaxy", "point"])
@pytest.mark.parametrize("lam", [1.3, 1.1, 4.5])
def test_continuum_flux_is_what_was_asked_for(source, lam):
    step = 0.03
    ra, dec = tangent(source).pixel_to_world_values(*grid(0.5 + 0.16 * lam, step))
    shown = Scene((source,)).brightness(ra, dec, np.full(ra.size, lam), PSF)
    flux = (shown * u.MJy / u.sr * (step * u.arcsec) ** 2).sum().to_value(u.uJy)
    assert flux == pytest.approx(6.0 * (lam / 1.3) ** 0.4, rel=1e-5)


def test_line_brightness_and_continuum_brightness_in_astropy_units():
    unit = u.MJy / u.sr * u.arcsec**2
    line = 40e-20 * u.W / u.m**2 * (2 * LINE.wavelength * u.um) ** 2 / constants.c
    expected = line.to_value(unit * u.um)
    assert GALAXY.line_brightness(LINE) == pytest.approx(expected, rel=1e-9)
    assert GALAXY.continuum_brightness(1.3) == pytest.approx((6 * u.uJy).to_value(unit), rel=1e-9)


def test_lines_have_their_ratios_and_vacuum_wavelengths():
    lines = {line.name: line for line in galaxy_lines(50.0)}
    assert len(lines) == len(LINE_TABLE) == 8
    assert lines["Halpha"].flux == 50.0
    assert lines["Halpha"].flux / lines["Hbeta"].flux == pytest.approx(2.86)
    assert lines["[OIII]5007"].flux / lines["[OIII]4959"].flux == pytest.approx(2.98)
    assert lines["[NII]6583"].flux / lines["[NII]6548"].flux == pytest.approx(3.05)
    assert lines["[NII]6583"].flux / lines["Halpha"].flux == pytest.approx(0.35)
    assert lines["[SII]6716"].flux / lines["[SII]6731"].flux == pytest.approx(1.31, abs=0.01)
    # air wavelengths (Angstrom, NIST) times the refractive index of air, 1.000276 to 1.000279
    air = {
        "Hbeta": 4861.35,
        "[OIII]4959": 4958.91,
        "[OIII]5007": 5006.84,
        "[NII]6548": 6548.05,
        "Halpha": 6562.79,
        "[NII]6583": 6583.45,
        "[SII]6716": 6716.44,
        "[SII]6731": 6730.82,
    }
    for name, wavelength in air.items():
        assert lines[name].wavelength * 1e4 == pytest.approx(wavelength * 1.0002775, abs=0.05)


@pytest.mark.parametrize("angle", [0.0, 30.0, 120.0, 260.0])
@pytest.mark.parametrize("radius", [0.05, 0.15, 1.0])
def test_rotation_curve_on_the_major_axis(angle, radius):
    galaxy = disk(position_angle=angle, rotation=210.0, turnover=0.15)
    east, north = radius * np.sin(np.deg2rad(angle)), radius * np.cos(np.deg2rad(angle))
    expected = 210.0 * 2 / np.pi * np.arctan(radius / 0.15) * np.sin(np.deg2rad(60.0))
    receding, approaching = galaxy.velocity(np.array([east, -east]), np.array([north, -north]))
    assert receding == pytest.approx(expected, rel=1e-12)
    assert approaching == pytest.approx(-expected, rel=1e-12)
    across = galaxy.velocity(np.array([north, -north]), np.array([-east, east]))
    np.testing.assert_allclose(across, 0, atol=1e-10)


def test_rotation_off_the_axes_is_that_of_a_circle_in_the_disk():
    galaxy = disk(position_angle=0.0, inclination=60.0, rotation=200.0, turnover=0.15)
    # 45 degrees in the disk's plane at a radius of 0.3 arcsec; the minor axis is seen half as long
    major, minor = 0.3 / np.sqrt(2), 0.3 / np.sqrt(2)
    velocity = galaxy.velocity(np.array([minor * 0.5]), np.array([major]))
    speed = 200.0 * 2 / np.pi * np.arctan(2.0)
    assert velocity[0] == pytest.approx(speed / np.sqrt(2) * np.sqrt(0.75), rel=1e-12)


def test_a_galaxy_face_on_shows_no_rotation():
    assert np.abs(disk(inclination=0.0).clouds().velocity).max() == 0


@pytest.mark.parametrize(("inclination", "angle"), [(0.0, 0.0), (50.0, 30.0), (65.0, 200.0)])
def test_shape_of_a_disk(inclination, angle):
    galaxy = disk(inclination=inclination, position_angle=angle)
    clouds = galaxy.clouds()
    sine, cosine = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    major = clouds.east * sine + clouds.north * cosine
    minor = clouds.east * cosine - clouds.north * sine
    # mean of r^2 in an exponential disk that ends at 5 scale lengths
    squared = 0.3**2 * 6 * gammainc(4, 5) / gammainc(2, 5)
    assert np.sqrt(clouds.line @ major**2) == pytest.approx(np.sqrt(squared / 2), rel=2e-3)
    ratio = np.sqrt((clouds.line @ minor**2) / (clouds.line @ major**2))
    assert ratio == pytest.approx(np.cos(np.deg2rad(inclination)), rel=2e-3)
    assert clouds.line @ (major * minor) == pytest.approx(0, abs=1e-4 * squared)
    assert clouds.line @ clouds.east == pytest.approx(0, abs=1e-6)


def test_lines_are_as_wide_as_the_dispersion():
    galaxy = disk(rotation=0.0, dispersion=55.0, scale_length=0.2, truncation=2.0)
    galaxy = Galaxy(**{**vars(galaxy), "lines": (LINE,)})
    velocity = np.linspace(-400, 400, 161)
    lam = LINE.wavelength * (1 + velocity / C)
    shown = Scene((galaxy,)).brightness(np.full(161, 10.0), np.full(161, -20.0), lam, PSF)
    profile = np.exp(-0.5 * (velocity / 55.0) ** 2)
    np.testing.assert_allclose(shown / shown.max(), profile, atol=1e-10)


def test_a_disk_recedes_at_its_position_angle():
    """Seen on the sky: east of the centre for 90 degrees."""
    galaxy = disk(position_angle=90.0, rotation=200.0, scale_length=0.2, truncation=2.0)
    galaxy = Galaxy(**{**vars(galaxy), "lines": (LINE,)})
    velocity = np.linspace(-700, 700, 281)
    lam = LINE.wavelength * (1 + velocity / C)
    centre = SkyCoord(10.0 * u.deg, -20.0 * u.deg)
    means = []
    for side in (90, 270):
        place = centre.directional_offset_by(side * u.deg, 0.3 * u.arcsec)
        ra, dec = np.full(281, place.ra.deg), np.full(281, place.dec.deg)
        shown = Scene((galaxy,)).brightness(ra, dec, lam, PSF)
        means.append(velocity @ shown / shown.sum())
    expected = 200 * 2 / np.pi * np.arctan(2.0) * np.sqrt(0.75)  # and a little, blurred
    assert means[0] == pytest.approx(expected, rel=0.1)
    assert means[1] == pytest.approx(-means[0], rel=1e-9)


def test_shares_of_clumps_and_bulge():
    galaxy = disk(bulge=0.3, bulge_sigma=0.08, clumps=((0.3, 0.0, 0.1), (-0.1, 0.4, 0.05)))
    clouds = galaxy.clouds()
    assert clouds.line.sum() == pytest.approx(1, abs=1e-12)
    assert clouds.continuum.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(clouds.line[-3:], [0.1, 0.05, 0.0])
    np.testing.assert_allclose(clouds.continuum[-3:], [0.0, 0.0, 0.3])
    np.testing.assert_allclose(clouds.east[-3:], [0.3, -0.1, 0.0])
    np.testing.assert_allclose(clouds.north[-3:], [0.0, 0.4, 0.0])
    np.testing.assert_allclose(clouds.sigma[-3:], [0.03, 0.03, 0.08])
    moving = galaxy.velocity(np.array([0.3, -0.1]), np.array([0.0, 0.4]))
    np.testing.assert_allclose(clouds.velocity[-3:], [*moving, 0.0])


@pytest.mark.parametrize("scale", [0.1, 0.3])
def test_clouds_are_a_smooth_exponential_as_wide_as_they_say(scale):
    """A disk of clouds is an exponential blurred by 0.7 of the clouds' distance, within 1e-4."""
    galaxy = disk(inclination=0.0, scale_length=scale, truncation=9.0)
    sigma = 0.7 * min(scale / 8, 0.05)
    clouds = galaxy.clouds()
    assert np.unique(clouds.sigma[:-1]) == pytest.approx([sigma])
    random = np.random.default_rng(0)
    radius, azimuth = random.uniform(1.0, 3.0, 60) * scale, random.uniform(0, 2 * np.pi, 60)
    east, north = radius * np.sin(azimuth), radius * np.cos(azimuth)
    squared = (east[:, None] - clouds.east) ** 2 + (north[:, None] - clouds.north) ** 2
    shown = np.exp(-0.5 * squared / sigma**2) @ clouds.line / (2 * np.pi * sigma**2)
    node, weight = np.polynomial.hermite_e.hermegauss(24)
    x, y = np.meshgrid(node * sigma, node * sigma)
    weights = np.outer(weight, weight) / (2 * np.pi)
    blurred = np.exp(-np.hypot(radius[:, None, None] + x, y) / scale)
    total = 2 * np.pi * scale**2 * gammainc(2, 9.0)
    np.testing.assert_allclose(
        shown, (blurred * weights).sum(axis=(1, 2)) / total, rtol=1e-4, atol=0
    )


@pytest.mark.parametrize("scale", [0.1, 0.25, 0.4, 2.0])
def test_clouds_widen_a_disk_by_less_than_two_in_a_thousand(scale):
    clouds = disk(scale_length=scale, inclination=0.0).clouds()
    width = np.sqrt(clouds.line @ clouds.east**2)
    assert np.sqrt(clouds.line @ (clouds.east**2 + clouds.sigma**2)) / width - 1 < 0.002


@pytest.mark.parametrize("dec", [-75.0, 0.0, 2.3, 60.0])
def test_offsets_are_those_of_the_tangent_plane(dec):
    source = PointSource(1, 359.9999, dec)
    random = np.random.default_rng(3)
    east, north = random.uniform(-200, 200, (2, 50))
    ra, dec = tangent(source).pixel_to_world_values(east, north)
    got = source.offsets(np.asarray(ra), np.asarray(dec))
    np.testing.assert_allclose(got, (east, north), atol=1e-7)
    own = SkyCoord(source.ra, source.dec, unit="deg")
    theirs = own.spherical_offsets_to(SkyCoord(ra, dec, unit="deg"))
    # on the sphere, not in the plane: 200 arcsec differ by 2e-4 arcsec at most
    np.testing.assert_allclose(got, [angle.arcsec for angle in theirs], atol=3e-4)


def test_brightness_without_and_with_psf():
    galaxy = disk(bulge=0.0, scale_length=0.3)
    galaxy = Galaxy(**{**vars(galaxy), "continuum": 5.0})
    at = np.array([10.0]), np.array([-20.0]), np.array([1.3])
    plain, seen = (Scene((galaxy,)).brightness(*at, psf)[0] for psf in (None, PSF))
    # an exponential's centre is 1 / (2 pi h^2 cos i) of the flux; truncated at 5 scale lengths,
    # blurred by clouds of 0.026 arcsec by 1 - 1.5 * 0.026 / 0.3 (its cusp, along both axes)
    peak = galaxy.continuum_brightness(1.3) / (2 * np.pi * 0.09 * gammainc(2, 5) * 0.5)
    assert 0.8 * peak < plain < 0.9 * peak
    assert 0.85 * plain < seen < 0.95 * plain


def test_the_background_is_uniform_and_a_power_of_the_wavelength():
    scene = Scene((), 0.2, -0.4)
    lam = np.array([1.3, 2.6, 5.2])
    shown = scene.brightness(np.array([0.0, 100, 200]), np.array([0.0, 50, -50]), lam)
    np.testing.assert_allclose(shown, 0.2 * 2.0 ** (-0.4 * np.arange(3)), rtol=1e-12)


def test_a_point_without_psf_is_refused():
    at = np.array([150.0]), np.array([2.0]), np.array([1.3])
    with pytest.raises(InputError, match=r"source 8.*point spread function"):
        Scene((POINT,)).brightness(*at)
    flat = Galaxy(**{**vars(GALAXY), "bulge_sigma": 0.0})
    with pytest.raises(InputError, match=r"source 7.*point spread function"):
        Scene((flat,)).brightness(*at)


def test_a_line_without_width_is_refused():
    at = np.array([150.0]), np.array([2.0]), np.array([1.3])
    sharp = PointSource(**{**vars(POINT), "dispersion": 0.0})
    with pytest.raises(InputError, match=r"source 8.*dispersion"):
        Scene((sharp,)).brightness(*at, PSF)
