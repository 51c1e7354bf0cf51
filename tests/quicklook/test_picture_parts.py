"""What the panels of a picture are made of, against what is known of the cube."""

from dataclasses import replace

import numpy as np
import picture_scene as scene
import pytest

from msa3d_steps.quicklook.cut import Cut, cut_cube, major_axis_cut
from msa3d_steps.quicklook.footprints import unique_slits
from msa3d_steps.quicklook.images import exposure_time, white_light
from msa3d_steps.quicklook.panels import velocity_range
from msa3d_steps.quicklook.style import measured, round_length
from msa3d_steps.quicklook.view import SlitPlaces


@pytest.mark.parametrize("axis_pa", [0, 60, 200])
def test_cut_follows_the_major_axis_and_shows_its_velocities(axis_pa):
    """The disc rises by 100 km/s for each arcsec: so does the ridge of the cut."""
    view = scene.disc_view(20, axis_pa=axis_pa)
    maps = scene.disc_maps(view, axis_pa)
    cut = major_axis_cut(maps)
    start, end = (view.wcs.pixel_to_world(*cut.pixels(n)) for n in (0, 5))
    turn = (start.position_angle(end).deg - axis_pa + 180) % 360 - 180
    assert abs(turn) < 1
    lam, continuum = view.wavelengths, maps.continuum
    places, values = cut_cube(view.data - continuum, cut)
    velocity = scene.LIGHT * (lam / scene.WAVELENGTH - 1)
    for offset in (-4, 0, 3):
        profile = values[:, places == offset][:, 0].clip(0)
        mean = profile @ velocity / profile.sum()
        assert mean == pytest.approx(100 * offset * view.scale, abs=4)  # half a strip's width


def test_cut_averages_across_itself():
    """Of three lines a bright one counts a third; where only one is covered there is nothing."""
    data = np.zeros((1, 9, 12), np.float32)
    data[0, 4] = np.arange(12)
    data[0, 3:5, 8:] = np.nan
    offsets, values = cut_cube(data, Cut((5.0, 4.0), (1.0, 0.0), kinematic=False))
    assert np.array_equal(offsets, np.arange(-5, 7))
    assert np.allclose(values[0, :8], np.arange(8) / 3, atol=1e-6)
    assert np.isnan(values[0, 8:]).all()


def test_noise_far_from_the_line_does_not_stretch_colours_or_move_the_cut():
    view = scene.disc_view()
    maps = scene.disc_maps(view)
    velocity, flux = maps.velocity.copy(), maps.flux.copy()
    for index, wild in {(27, 2): 900.0, (4, 20): -1500.0}.items():
        velocity[index], flux[index] = wild, 0.07e-16
    err = np.where(np.isfinite(velocity), 3.0, np.nan)
    noisy = replace(maps, velocity=velocity, velocity_err=err, flux=flux)
    assert velocity_range(noisy) == velocity_range(maps)
    assert major_axis_cut(noisy) == major_axis_cut(maps)


def test_white_light_is_the_image_whatever_the_noise_of_single_channels():
    """A noisy channel hardly counts, missing voxels do not, and the order of bytes does not."""
    rng = np.random.default_rng(1)
    image = rng.uniform(1, 2, (9, 7))
    err = np.full((600, 9, 7), 0.1)
    err[300:310] = 50.0
    data = (image + err * rng.normal(size=err.shape)).astype(">f4")
    data[rng.random(data.shape) < 0.2] = np.nan
    data[:, 2, 3] = np.nan
    view = replace(scene.disc_view(), data=data, err=err.astype(">f4"))
    white = white_light(view)
    assert np.isnan(white[2, 3])
    deviation = (white - image)[np.isfinite(white)]
    assert abs(deviation).max() < 4.5 * 0.1 / np.sqrt(590 * 0.8)
    assert white.dtype == np.float32


def test_exposure_time_is_that_of_the_channels_with_data():
    time = np.zeros((500, 2, 2), np.float32)
    time[:400, 0, 0], time[450:, 0, 1] = 100, 700
    shown = exposure_time(replace(scene.disc_view(), data=time, etime=time))
    assert np.array_equal(shown, [[100, 700], [np.nan, np.nan]], equal_nan=True)


def test_numbers_are_written_with_their_errors():
    assert measured(1.234e-17, 4e-19) == "(1.234 \u00b1 0.040)\u00d710\u207b\u00b9\u2077"
    assert measured(-3.0, 1.0) == "(-3.0 \u00b1 1.0)"
    assert measured(np.nan, 1) == "unknown"
    assert [round_length(x) for x in (0.99, 1.0, 4.9, 0.05, np.nan)] == [0.5, 1, 2, 0.05, 1]


def test_slits_of_two_detectors_are_one_wherever_they_are():
    """They lie 0.04 mas apart; steps are 200 mas apart, whatever decimals places have."""
    n = 40
    ra = np.repeat(150.0 + np.arange(n) * 0.2 / 3600, 2) + np.tile([0, 4e-5 / 3600], n)
    full = np.ones(2 * n)
    slits = SlitPlaces(ra, 0 * full, 0.2 * full, 2.7 * full, 0 * full,
                       np.repeat(np.arange(n), 2), np.zeros(2 * n, int))  # fmt: skip
    assert np.array_equal(unique_slits(slits), np.arange(0, 2 * n, 2))
