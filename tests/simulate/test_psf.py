import sys
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import erf, j0, j1

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.scene.psf import PSF_NAMES, Psf, box_average, diffraction_fwhm

RADII = np.geomspace(0.001, 20, 1000)


def gaussian(x, sigma):
    return np.exp(-0.5 * (x / sigma) ** 2) / np.sqrt(2 * np.pi) / sigma


def half_width(psf, lam):
    """Radius of half the peak, read off the profile."""
    radius = np.linspace(0, 0.5, 200001)
    profile = psf.profile(radius, lam)
    return np.interp(-0.5 * profile[0], -profile, radius)


@pytest.mark.parametrize("sigma", [0.02, 0.3, 5.0])
@pytest.mark.parametrize("offset", [0.0, -0.1, 0.45, 1.3])
def test_box_average_is_the_quadrature(offset, sigma):
    low, high = offset - 0.5, offset + 0.5
    near = [x for x in (0.0, -5 * sigma, 5 * sigma) if low < x < high]
    expected = quad(gaussian, low, high, (sigma,), epsabs=0, epsrel=1e-12, points=near or None)[0]
    assert box_average(offset, 0.5, sigma) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("z", [6.0, 12.0, 25.0, 35.0])
def test_box_average_keeps_its_accuracy_in_the_tails(z):
    expected = quad(gaussian, z - 0.5, z + 0.5, (1.0,), epsabs=0, epsrel=1e-12)[0]
    assert box_average(z, 0.5, 1.0) == pytest.approx(expected, rel=1e-10)
    assert box_average(-z, 0.5, 1.0) == box_average(z, 0.5, 1.0)


def test_box_average_is_finite_and_falls_everywhere():
    offset = np.linspace(0, 1e4, 100001)
    mean = box_average(offset, 0.1, 0.03)
    assert np.isfinite(mean).all()
    assert (np.diff(mean) <= 0).all()
    assert mean[-1] == 0


@pytest.mark.parametrize("half", [0.0, 1e-7, 0.999e-3, 1.001e-3, 0.01])
def test_box_average_of_a_narrow_box_is_the_gaussian(half):
    z = np.array([0.0, 0.5, 1.7, 4.0])
    second = gaussian(z, 1.0) * (z**2 - 1)  # of the mean, h^2 / 6 of it
    fourth = gaussian(z, 1.0) * (z**4 - 6 * z**2 + 3)
    expected = gaussian(z, 1.0) + second * half**2 / 6 + fourth * half**4 / 120
    np.testing.assert_allclose(box_average(z, half, 1.0), expected, rtol=3e-12)


def test_boxes_side_by_side_have_all_the_light():
    middles = np.arange(-40, 41) * 0.1
    assert box_average(middles, 0.05, 0.07).sum() * 0.1 == pytest.approx(1, abs=1e-14)


def test_default_width_is_the_documented_one():
    fwhm = Psf.gaussian().fwhm(np.array([1.0, 1.15, 5.0]))
    np.testing.assert_allclose(fwhm, [0.0597, 0.0626, 0.1709], atol=2e-4)
    assert diffraction_fwhm(2.0) == pytest.approx(0.0654, abs=1e-4)


@pytest.mark.parametrize("make", [Psf.gaussian, Psf.moffat])
def test_width_is_what_was_asked_for(make):
    psf = make(fwhm=0.1, lam=1.5)
    assert psf.fwhm(1.5) == pytest.approx(0.1, rel=1e-9)
    for lam in (1.0, 1.5, 5.0):
        assert 2 * half_width(psf, lam) == pytest.approx(psf.fwhm(lam), rel=1e-6)


def test_components_follow_the_wavelength():
    psf = Psf.moffat(n_components=6)
    lam = np.linspace(1, 5, 12).reshape(3, 4)
    weights, sigmas = psf.components(lam)
    assert weights.shape == (6,)
    assert sigmas.shape == (6, 3, 4)
    assert weights.sum() == pytest.approx(1, abs=1e-15)
    growth = np.hypot(diffraction_fwhm(lam), 0.05) / np.hypot(diffraction_fwhm(1.0), 0.05)
    np.testing.assert_allclose(sigmas / sigmas[:, :1, :1], growth[None] * np.ones((6, 1, 1)))
    without_blur = Psf.gaussian(0.1, lam=2.0, blur=0.0)
    assert without_blur.fwhm(4.0) == pytest.approx(0.2, rel=1e-12)


@pytest.mark.parametrize("beta", [2.0, 2.5, 3.0, 4.0])
def test_moffat_has_the_light_of_a_moffat_profile(beta):
    psf = Psf.moffat(fwhm=0.1, beta=beta)
    alpha = 0.05 / np.sqrt(2 ** (1 / beta) - 1)
    encircled = 1 - (1 + (RADII / alpha) ** 2) ** (1 - beta)
    assert abs(psf.encircled_energy(RADII, 2.0) - encircled).max() < 0.0006
    profile = (beta - 1) / np.pi / alpha**2 * (1 + (RADII / alpha) ** 2) ** -beta
    bright = profile > 1e-3 * profile[0]
    np.testing.assert_allclose(psf.profile(RADII, 2.0)[bright], profile[bright], rtol=0.004)


@pytest.mark.parametrize("sampled", [True, False])
def test_image_is_fitted_off_centre_and_free_of_its_pixels(sampled):
    psf = Psf.moffat(fwhm=0.1, beta=3.0)
    fine = np.arange(-604, 605) * 0.025 / 8  # eight samples across a pixel
    y, x = fine[:, None] + 0.004, fine + 0.011
    image = psf.profile(np.hypot(y, x).ravel(), 2.0).reshape(1209, 1209)
    image = image[4:-4:8, 4:-4:8] if sampled else image[:1208, :1208]
    if not sampled:
        image = image.reshape(151, 8, 151, 8).mean(axis=(1, 3))
    fitted = Psf.from_image(7.0 * image, 0.025, 2.0, sampled=sampled)
    assert fitted.fwhm(2.0) == pytest.approx(0.1, rel=0.002)
    assert abs(fitted.encircled_energy(RADII, 2.0) - psf.encircled_energy(RADII, 2.0)).max() < 0.002


def airy(scale, half, lam):
    """Image of a round aperture of 6.5 m, and its encircled energy at some radii."""
    wave_number = np.pi * 6.5 / (lam * 1e-6) * np.pi / 180 / 3600
    y, x = np.mgrid[-half : half + 1, -half : half + 1] * scale
    v = np.maximum(wave_number * np.hypot(y, x), 1e-9)
    radius = np.array([0.05, 0.1, 0.2, 0.5])
    encircled = 1 - j0(wave_number * radius) ** 2 - j1(wave_number * radius) ** 2
    return (2 * j1(v) / v) ** 2, radius, encircled


def test_diffraction_rings_are_fitted_as_well_as_gaussians_can():
    image, radius, encircled = airy(0.0125, 160, 2.0)
    psf = Psf.from_image(image, 0.0125, 2.0, sampled=True, blur=0.0)
    assert psf.fwhm(2.0) == pytest.approx(0.0653, rel=0.12)  # an Airy disk is no Gaussian
    assert abs(psf.encircled_energy(radius, 2.0) - encircled).max() < 0.04
    assert abs(psf.encircled_energy(radius[2:], 2.0) - encircled[2:]).max() < 0.01


def test_names():
    assert set(PSF_NAMES) == {"gaussian", "moffat", "stpsf"}
    assert Psf.named("gaussian") == Psf.gaussian()
    assert Psf.named("moffat") == Psf.moffat()
    with pytest.raises(InputError, match="choose one of gaussian, moffat, stpsf"):
        Psf.named("airy")


@pytest.mark.parametrize(
    ("weights", "sigmas"),
    [((), ()), ((1.0,), (0.1, 0.2)), ((-1.0, 2.0), (0.1, 0.2)), ((1.0,), (0.0,)), ((0.0,), (1.0,))],
)
def test_impossible_gaussians_are_refused(weights, sigmas):
    with pytest.raises(InputError, match="Gaussians"):
        Psf(weights, sigmas)


@pytest.mark.parametrize("image", [np.zeros((5, 5)), np.ones(5), np.full((5, 5), np.nan)])
def test_images_without_light_are_refused(image):
    with pytest.raises(InputError, match="have light"):
        Psf.from_image(image, 0.1, 2.0)


def test_impossible_moffat_is_refused():
    with pytest.raises(InputError, match="beta above 1"):
        Psf.moffat(beta=1.0)


class FakeNirspec:
    """What the package stpsf offers, as far as it is used."""

    image_mask = "MSA all open"

    def calc_psf(self, monochromatic, oversample, fov_arcsec):
        assert self.image_mask is None  # the shutters are the simulator's business
        scale = 0.1 / oversample
        image, _, _ = airy(scale, int(fov_arcsec / scale / 2), monochromatic * 1e6)
        return [SimpleNamespace(data=image, header={"PIXELSCL": scale})]


def test_stpsf_is_asked_when_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "stpsf", SimpleNamespace(NIRSpec=FakeNirspec))
    psf = Psf.named("stpsf", lam=3.0)
    assert psf.name == "stpsf"
    assert psf.lam == 3.0
    _, radius, encircled = airy(0.025, 1, 3.0)
    assert abs(psf.encircled_energy(radius, 3.0) - encircled).max() < 0.05
    assert psf.fwhm(1.5) == pytest.approx(psf.fwhm(3.0) / 2, rel=1e-12)


def test_stpsf_missing_is_said_with_the_mend(monkeypatch):
    monkeypatch.setitem(sys.modules, "stpsf", None)
    with pytest.raises(InputError, match="pip install stpsf"):
        Psf.named("stpsf")


def test_stpsf_without_data_files_is_said_with_the_mend(monkeypatch):
    def nirspec():
        raise OSError("STPSF_PATH (/nowhere) is not a valid directory path!")

    monkeypatch.setitem(sys.modules, "stpsf", SimpleNamespace(NIRSpec=nirspec))
    with pytest.raises(InputError, match="download them"):
        Psf.stpsf()


def test_slit_and_pixel_of_a_point_source_agree_with_sampling():
    """The mean over a rectangle of the sky, by erf and by a fine grid of the profile."""
    psf = Psf.moffat(fwhm=0.12, beta=2.5)
    weights, sigmas = psf.components(2.0)
    analytic = (weights * box_average(0.06, 0.1, sigmas) * box_average(0.02, 0.05, sigmas)).sum()
    x = 0.06 + (np.arange(400) + 0.5) / 400 * 0.2 - 0.1
    y = 0.02 + (np.arange(400) + 0.5) / 400 * 0.1 - 0.05
    sampled = psf.profile(np.hypot(y[:, None], x).ravel(), 2.0).mean()
    assert analytic == pytest.approx(sampled, rel=1e-5)
    single = Psf.gaussian(fwhm=0.12).components(2.0)[1][0]
    expected = (erf(0.16 / single / np.sqrt(2)) + erf(0.04 / single / np.sqrt(2))) / 0.4
    assert box_average(0.06, 0.1, single) == pytest.approx(expected, rel=1e-12)
