"""Line maps against cubes whose moments are known."""

from dataclasses import replace

import numpy as np
import pytest
from astropy import units as u
from line_scene import CHANNEL_CORRELATION, C, Galaxy, grid, truth, view_of_galaxy

from msa3d_steps.errors import InputError
from msa3d_steps.quicklook.lines import LineChoice
from msa3d_steps.quicklook.moments import FAINT, NO_DATA, map_line
from msa3d_steps.quicklook.noise import channel_correlation
from msa3d_steps.quicklook.spectrum import aperture_of, integrate

OIII, HALPHA, NII = 0.500824, 0.656461, 0.658528
GALAXY = Galaxy({OIII: 2e-3}, redshift=1.45, continuum=0.2)


def choice(rest, galaxy, name="line"):
    return LineChoice(name, rest, rest * (1 + galaxy.redshift), galaxy.redshift)


def test_noise_free():
    """Flux to 0.5%, velocity to 1 km/s, dispersion to 3% (channels add 1.3%, windows take 1.5%)."""
    view = view_of_galaxy(GALAXY)
    maps = map_line(view, choice(OIII, GALAXY))
    _, y, x, *_ = grid()
    light, velocity = truth(GALAXY, y, x)
    inner = light > 0.1
    assert (maps.mask[inner] == 0).all()
    np.testing.assert_allclose(maps.velocity[inner], velocity[inner], atol=1.0)
    np.testing.assert_allclose(maps.dispersion[inner], GALAXY.dispersion, rtol=0.03)
    # the same in astropy's units: MJy/sr um at the line's wavelength
    brightness = 2e-3 * light * u.MJy / u.sr * u.um
    lam = OIII * (1 + GALAXY.redshift) * u.um
    flux = (brightness * (299792458 * u.m / u.s) / lam**2).to(u.erg / u.s / u.cm**2 / u.arcsec**2)
    np.testing.assert_allclose(maps.flux[inner], flux.value[inner], rtol=5e-3)
    channel = np.interp(lam.value, view.wavelengths, range(240))
    level = GALAXY.continuum * light * (1 + 0.5 * channel / 100)
    np.testing.assert_allclose(maps.continuum[inner], level[inner], rtol=5e-3)
    total = flux.value[maps.aperture].sum() * view.scale**2
    assert maps.total_flux == pytest.approx(total, rel=5e-3)


@pytest.fixture(scope="module")
def noisy():
    """Eight cubes with noise."""
    return [view_of_galaxy(GALAXY, seed=seed) for seed in range(8)]


def chi2(views):
    """Mean squares of (measured - true) / error of flux, velocity and dispersion, S/N > 5."""
    reference = map_line(view_of_galaxy(GALAXY), choice(OIII, GALAXY), snr=0)
    found = []
    for view in views:
        maps = map_line(view, choice(OIII, GALAXY))
        good = (maps.mask == 0) & (maps.snr > 5)
        found.append([
            (getattr(maps, q) - getattr(reference, q))[good] / getattr(maps, f"{q}_err")[good]
            for q in ("flux", "velocity", "dispersion")
        ])  # fmt: skip
    found = np.concatenate(found, axis=1)
    assert found.shape[1] > 900
    return (found**2).mean(axis=1)


def test_errors_are_those_of_correlated_channels(noisy):
    """chi2 is 1 within 12% (its own scatter is 4%); without CORRELATION flux has 1.5."""
    flux, velocity, dispersion = chi2(noisy)
    assert flux == pytest.approx(1, abs=0.12)
    assert velocity == pytest.approx(1, abs=0.12)
    assert dispersion == pytest.approx(1, abs=0.2)
    assert chi2([replace(view, correlation=None) for view in noisy])[0] > 1.35


def test_total_flux_and_its_error(noisy):
    """Of eight cubes, against the noise-free one: chi2 of 8 degrees, 0.1% to 99.9%."""
    maps = [map_line(view, choice(OIII, GALAXY)) for view in noisy]
    clean = map_line(view_of_galaxy(GALAXY), choice(OIII, GALAXY))
    scale = noisy[0].scale
    for one in maps:
        assert abs(int(one.aperture.sum()) - int(clean.aperture.sum())) < 25
    excess = [
        (one.total_flux - clean.flux[one.aperture].sum() * scale**2) / one.total_flux_err
        for one in maps
    ]
    assert 0.86 < np.sum(np.square(excess)) < 26
    assert maps[0].total_snr == pytest.approx(maps[0].total_flux / maps[0].total_flux_err)


def test_mask_is_honest(noisy):
    """No velocity where there is no data or no line, and none of noise alone beyond chance."""
    view = noisy[0]
    data = view.data.copy()
    data[:, 3:6, 10:14] = np.nan
    data[100:160, 12, 12] = np.nan  # in the line of a bright spaxel
    maps = map_line(replace(view, data=data), choice(OIII, GALAXY))
    gone = np.zeros(maps.mask.shape, bool)
    gone[3:6, 10:14] = gone[12, 12] = True
    np.testing.assert_array_equal(maps.mask == NO_DATA, gone)
    assert np.isnan(maps.flux[gone]).all()
    faint = maps.mask == FAINT
    np.testing.assert_array_equal(faint, ~gone & ~(maps.snr >= 3))
    assert np.isnan(maps.velocity[gone | faint]).all()
    assert np.isfinite(maps.velocity[maps.mask == 0]).all()
    light, _ = truth(GALAXY, *grid()[1:3])
    assert (maps.mask[light < 1e-3] == 0).mean() < 0.02


def test_window_stops_between_lines():
    """[NII] twice as strong as H-alpha, 943 km/s away: H-alpha is as if it were not there."""
    both = replace(GALAXY, lines={HALPHA: 1e-3, NII: 2e-3}, redshift=0.95)
    alone = replace(both, lines={HALPHA: 1e-3})
    line = choice(HALPHA, both, "Halpha")
    found, expected = (
        map_line(view_of_galaxy(galaxy, start=1.255), line) for galaxy in (both, alone)
    )
    inner = truth(both, *grid()[1:3])[0] > 0.05
    np.testing.assert_allclose(found.velocity[inner], expected.velocity[inner], atol=3)
    np.testing.assert_allclose(found.flux[inner], expected.flux[inner], rtol=0.01)
    np.testing.assert_allclose(found.continuum[inner], expected.continuum[inner], rtol=0.01)
    assert found.window[1] <= (HALPHA + NII) / 2 * 1.95 * (1 + 1e-6)


def test_bad_voxels_beside_the_line_do_not_matter():
    view = view_of_galaxy(GALAXY, seed=1)
    line = choice(OIII, GALAXY)
    data = view.data.copy()
    rng = np.random.default_rng(0)
    beside = np.abs(view.wavelengths / line.wavelength - 1) * C > 800
    some = rng.random(data.shape) < 0.02
    data[some & beside[:, None, None]] += 50.0  # 1000 standard deviations
    clean, hit = (map_line(v, line) for v in (view, replace(view, data=data)))
    seen = (clean.snr > 5) & (clean.mask == 0)
    excess = (hit.flux - clean.flux)[seen] / clean.flux_err[seen]
    assert np.abs(excess).max() < 1
    assert np.abs(hit.velocity - clean.velocity)[seen].max() < 15


def test_broad_line():
    """2500 km/s wide (FWHM), more than what is looked at first: flux to 3%, dispersion to 5%."""
    galaxy = Galaxy({OIII: 5e-3}, redshift=1.45, rotation=0, dispersion=2500 / 2.355)
    view = view_of_galaxy(galaxy, n_wave=500, start=1.17)
    unknown = LineChoice("line at 1.2270 um", None, OIII * 2.45)  # no [OIII]4959 to keep off
    maps = map_line(view, unknown)
    narrow = view_of_galaxy(replace(galaxy, dispersion=70.0))
    reference = map_line(narrow, choice(OIII, galaxy))
    bright = reference.flux > 0.3 * reference.flux.max()
    np.testing.assert_allclose(maps.flux[bright], reference.flux[bright], rtol=0.03)
    np.testing.assert_allclose(maps.dispersion[bright], 2500 / 2.355, rtol=0.05)


def test_line_beyond_the_cube_is_an_error():
    with pytest.raises(InputError, match=r"would be at 1\.2270 um; the cube reaches from 1\.30"):
        map_line(view_of_galaxy(GALAXY, start=1.3), choice(OIII, GALAXY, "[OIII]5007"))


def test_channel_correlation():
    """That of neighbours is recovered from the table, and none is invented farther off."""
    found = channel_correlation(view_of_galaxy(GALAXY).correlation)
    assert found[0] == 1
    assert found[1] == pytest.approx(CHANNEL_CORRELATION, abs=0.005)
    assert len(found) == 2
    np.testing.assert_array_equal(channel_correlation(None), [1])


def test_spectrum_in_mjy(noisy):
    """A flat source: surface brightness times solid angle, scatter as its errors say."""
    flat = replace(GALAXY, lines={}, size=1e3, continuum=0.2, slope=0.0)
    view = view_of_galaxy(flat, seed=3)
    inside = np.zeros(view.data.shape[1:], bool)
    inside[8:16, 8:16] = True
    data = view.data.copy()
    data[50, 8, 8:12] = np.nan  # 4 of 64: made up for
    data[60, 8:10, 8:12] = np.nan  # 8 of 64
    spectrum = integrate(replace(view, data=data), inside)
    area = ((view.scale * u.arcsec) ** 2).to_value(u.sr)
    expected = 0.2e6 * 1e3 * 64 * area  # MJy in mJy
    assert np.isnan(spectrum.flux[60])
    assert np.flatnonzero(np.isnan(spectrum.flux)).tolist() == [60]
    excess = (np.delete(spectrum.flux, 60) - expected) / np.delete(spectrum.err, 60)
    assert np.std(excess) == pytest.approx(1, abs=0.15)
    assert np.mean(excess) == pytest.approx(0, abs=0.25)
    assert spectrum.n_spaxels == 64
    assert spectrum.continuum_snr == pytest.approx(0.2 * 8 / 0.05, rel=0.05)


def test_apertures():
    """Where the line, else the white light, is bright, whatever the sky; else a circle."""
    view = view_of_galaxy(replace(GALAXY, continuum=0.5), seed=2)
    view = replace(view, data=view.data + np.float32(0.4))
    light, _ = truth(GALAXY, *grid()[1:3])
    of_line = aperture_of(view, map_line(view, choice(OIII, GALAXY)))
    for found in (of_line, aperture_of(view, None)):
        assert found[light > 0.3].all()
        assert not found[light < 0.03].any()
    empty = view_of_galaxy(replace(GALAXY, lines={}, continuum=0.0), seed=2)
    y, x = np.indices(light.shape)
    circle = np.hypot(y - 11.5, x - 11.5) * 0.1 <= 0.3
    found = aperture_of(empty, None)
    assert (found ^ circle).sum() <= 1  # the spaxel of the catalogue position is in any case


def test_aperture_of_a_source_without_lines_where_some_channels_are_noisy():
    """A tenth of the channels has 300 times the noise, as at the ends of the prism's range."""
    rng = np.random.default_rng(4)
    _, y, x, _, scale = grid(ny=40, nx=40, n_wave=400)
    y, x = y / scale + 19.5, x / scale + 19.5
    light = np.exp(-0.5 * ((y - 28) ** 2 + (x - 25) ** 2) / 3**2)
    err = np.ones((400, 40, 40))
    err[:20] = err[-20:] = 300
    data = 0.5 * light + err * rng.normal(size=err.shape)
    view = replace(
        view_of_galaxy(GALAXY, ny=40, nx=40, n_wave=400), data=data.astype("f4"),
        err=err.astype("f4"), correlation=None,
    )  # fmt: skip
    inside = aperture_of(view)
    assert np.nonzero(inside)[0].mean() == pytest.approx(28, abs=1)
    assert np.nonzero(inside)[1].mean() == pytest.approx(25, abs=1)
    assert inside[light > 0.5].all()
    assert not inside[light < 0.01].any()
    maps = map_line(view_of_galaxy(GALAXY), choice(OIII, GALAXY))
    empty = replace(maps, aperture=np.zeros((40, 40), bool))
    np.testing.assert_array_equal(aperture_of(view, empty), inside)


def test_against_the_simulator(simulated):
    """[OIII] of a galaxy seen through optics and slits, noise-free: what a perfect reduction shows.

    Velocity to 3 km/s, flux to 8%, in the few spaxels that two steps cover wholly.
    """
    from msa3d_steps import MSA3DCubeStep
    from msa3d_steps.quicklook.view import view_of
    from msa3d_steps.simulate.record import read_truth
    from msa3d_steps.simulate.scene.sources import Scene
    from msa3d_steps.simulate.scene.truth import CubeGrid, expected_cube

    truth = read_truth(simulated)
    source = truth.source(1)
    (line,) = (line for line in source.lines if line.name == "[OIII]5007")
    centre = source.observed(line)
    low, high = (centre * (1 + v / C) for v in (-2500, 2500))
    (asn,) = simulated.glob("*_asn.json")
    (cube,) = MSA3DCubeStep.call(str(asn), sources="1", wavemin=low, wavemax=high)
    view = view_of(cube)
    ny, nx = view.data.shape[1:]
    ra, dec = view.wcs.wcs_pix2world([[(nx - 1) / 2, (ny - 1) / 2]], 0)[0]
    cells = CubeGrid(ra, dec, 0.0, view.scale, nx, ny, view.wavelengths, view.bandpass)
    scene = Scene((source,), truth.scene.zodiacal, truth.scene.zodiacal_slope)
    expected, covered = expected_cube(scene, truth.psf, cells, truth.cutouts(1), points=60)
    wanted = replace(view, data=expected, err=np.where(np.isfinite(expected), view.err, np.nan))
    named = LineChoice(line.name, line.wavelength, centre, source.redshift)
    found, right = (map_line(v, named, snr=0) for v in (view, wanted))
    good = (covered > 0.95).all(axis=0) & (right.snr > 20) & (found.mask == 0)
    assert good.sum() >= 8
    assert np.ptp(right.velocity[good]) > 40  # it rotates
    np.testing.assert_allclose(found.velocity[good], right.velocity[good], atol=3)
    np.testing.assert_allclose(found.flux[good], right.flux[good], rtol=0.08)
