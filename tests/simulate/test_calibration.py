from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from jwst.pathloss import pathloss

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.references import calibration, throughput
from msa3d_steps.simulate.references.calibration import Response, bar_shadow


def test_photons_of_one_megajansky_per_steradian():
    # 1e-20 W/m2/Hz/sr through 0.1958" x 0.1045" (4.81e-13 sr), 25 m2, 40%, 2.35 A of 1.3 um
    photons = 1e-20 * 4.809e-13 * 25 * 0.40 * (2.35e-4 / 1.3) / 6.62607e-34
    assert photons == pytest.approx(0.01312, rel=1e-3)
    assert throughput.conversion(1.3, "G140H", "F100LP") == pytest.approx(photons, rel=1e-3)


def test_prism_and_medium_gratings_get_more_light_by_their_bandwidth():
    counts = {key[0]: throughput.conversion(2.0, *key) for key in throughput.GRATINGS}
    assert counts["G235M"] / counts["G235H"] == pytest.approx(10.67 / 3.95 * 50 / 45, rel=1e-6)
    assert 20 < counts["PRISM"] / counts["G235H"] < 60


def test_prism_bandwidth_is_that_of_the_real_exposures(real_models):
    wcs = real_models[0].meta.wcs
    lam = wcs(np.arange(341.0), np.full(341, 12.0))[2]
    lam = lam[np.isfinite(lam)]
    middle, step = 0.5 * (lam[1:] + lam[:-1]), np.diff(lam)
    model = throughput.find_grating("PRISM", "CLEAR").pixel_bandwidth(middle)
    # the curve is a spline through 8 points of the measured range
    np.testing.assert_allclose(model, step, rtol=0.01)


def test_outside_the_filter_there_is_no_calibration():
    counts = throughput.conversion([0.8, 1.3, 2.1], "G140H", "F100LP")
    assert list(np.isfinite(counts)) == [False, True, False]


def test_unknown_gratings_and_detectors_are_refused():
    with pytest.raises(InputError, match="G140H/F290LP is not simulated"):
        Response("G140H", "F290LP", "NRS1")
    with pytest.raises(InputError, match="NRS3"):
        Response("G140H", "F100LP", "NRS3")


@pytest.mark.parametrize("shutters", [1, 3])
def test_uniform_pathloss_follows_the_real_reference_file(real_paths, shutters):
    path = real_paths[0].parent / "jwst_nirspec_pathloss_0002.fits"
    real = fits.getdata(path, ("UNI", 1 if shutters == 1 else 2))
    lam = 0.6 + 0.235 * np.arange(real.size)
    np.testing.assert_allclose(calibration.uniform_pathloss(lam, shutters), real, rtol=0.02)


def test_uniform_pathloss_of_two_shutters_is_midway():
    lam = np.linspace(0.6, 5.3, 50)
    one, two, three = (calibration.uniform_pathloss(lam, n) for n in (1, 2, 3))
    np.testing.assert_allclose(two, (one + three) / 2, rtol=1e-12)
    assert np.all(np.isnan(calibration.uniform_pathloss([0.4, 5.7], 1)))


def states(longest=5):
    """All slitlets with up to so many shutters, whose ends are open."""
    for length in range(1, longest + 1):
        for shutters in product("01", repeat=length):
            for source in range(length):
                state = "".join((*shutters[:source], "x", *shutters[source + 1 :]))
                if not (state.startswith("0") or state.endswith("0")):
                    yield state


def test_aperture_of_the_pathloss_is_the_one_that_jwst_takes():
    apertures = [SimpleNamespace(name=f"MOS1x{n}", shutters=n) for n in (1, 3)]
    meta = SimpleNamespace(exposure=SimpleNamespace(type="NRS_MSASPEC"))
    model = SimpleNamespace(meta=meta, apertures=apertures)
    checked = set(states())
    for state in checked:
        ours = calibration.pathloss_aperture(state)
        expected = 2 if len(state) == 2 else pathloss.get_aperture_from_model(model, state).shutters
        assert ours == expected, state
    assert len(checked) == 48


def test_bar_shadow_has_the_documented_shape():
    edge = 0.5 * 177 / 203.5

    def at(along, state, lam=1.3):
        return float(bar_shadow(along, lam, state))

    assert at(0.0, "x") == pytest.approx(1, abs=1e-6)
    assert at(0.5, "1x1") == pytest.approx(1 - 0.2 * 0.98, abs=1e-4)  # a bar takes 20%
    assert at(-0.5, "1x1") == at(0.5, "1x1")
    assert at(edge, "x") == pytest.approx(0.51, abs=1e-4)  # half the light at the outer edge
    assert at(1 + edge, "1x1") == pytest.approx(0.51, abs=1e-4)
    assert at(-1.0, "x1") == pytest.approx(0.02, abs=1e-4)  # the floor
    assert at(1.0, "x1") == pytest.approx(1, abs=1e-4)
    assert at(1.0, "x01") == pytest.approx(0.02, abs=1e-4)  # a closed shutter


def test_edges_of_the_slit_are_blurred_by_a_pixel():
    along = np.linspace(-1.2, 0, 4001)
    light = bar_shadow(along, np.full_like(along, 1.3), "x")
    low, high = np.interp([0.16, 0.84], (light - 0.02) / 0.98, along)
    pixel = 0.1045 / (0.4575 * 203.5 / 177)
    assert 0.7 < (high - low) / pixel < 1.1  # two standard deviations


def test_bar_shadow_and_point_pathloss_stay_within_bounds():
    along, lam = np.linspace(-6, 6, 601), np.linspace(0.5, 5.6, 601)
    for state in ("x", "1x1", "11x11", "x1", "10x"):
        light = bar_shadow(along, lam, state)
        assert 0.02 <= light.min() <= light.max() <= 1
    light = calibration.point_pathloss(along, 0.0, 2.0, 3)
    assert light[0] == 0.001
    assert 0.9 < light[300] <= 1


@pytest.mark.parametrize("detector", ["NRS1", "NRS2"])
def test_detector_flat_is_a_one_percent_pattern(detector):
    image = calibration.detector_flat_image(detector)
    assert image.mean() == pytest.approx(1, abs=2e-5)
    assert image.std() == pytest.approx(0.01, rel=2e-3)
    assert np.all((image - 1) * 4096 % 1 == 0)
    assert calibration.flat_bad_pixels(detector).sum() == 200
    neighbours = np.corrcoef(image[:, 1:].ravel(), image[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.003


def test_detectors_differ_and_do_not_change():
    one, two = (calibration.detector_flat_image(name) for name in ("NRS1", "NRS2"))
    assert abs(np.corrcoef(one.ravel(), two.ravel())[0, 1]) < 0.003
    calibration.detector_flat_image.cache_clear()
    np.testing.assert_array_equal(calibration.detector_flat_image("NRS1"), one)


def test_quadrants_differ():
    levels = [float(calibration.fore_optics_flat(2.0, quadrant)) for quadrant in (1, 2, 3, 4)]
    assert np.min(np.abs(np.diff(sorted(levels)))) > 0.002


def test_response_is_the_product_of_its_parts():
    shape = (30, 40)
    lam = np.broadcast_to(np.linspace(1.0, 1.8, 40), shape).copy()
    y_slit = np.broadcast_to(np.linspace(-2, 2, 30)[:, None], shape)
    lam[3, 4] = np.nan
    response = Response("G140H", "F100LP", "NRS2")
    light = response(lam, y_slit, 101, 301, 3, "1x1", 1.15)
    assert np.array_equal(np.isnan(light), np.isnan(lam))
    rows, columns = slice(300, 330), slice(100, 140)
    expected = (
        throughput.conversion(lam, "G140H", "F100LP")
        * calibration.uniform_pathloss(lam, 3)
        * bar_shadow(y_slit / 1.15, lam, "1x1")
        * calibration.fore_optics_flat(lam, 3)
        * calibration.spectrograph_flat_spectrum(lam, "NRS2")
        * calibration.spectrograph_flat_image("NRS2")[rows, columns]
        * calibration.detector_flat_spectrum(lam, "NRS2")
        * calibration.detector_flat_image("NRS2")[rows, columns]
    )
    np.testing.assert_allclose(light, expected, rtol=1e-12)
