"""Finding and naming lines: where they are, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
from line_scene import C, Galaxy, correlated_noise, view_of_galaxy

from msa3d_steps.errors import InputError
from msa3d_steps.quicklook.linelist import LINES, line_named
from msa3d_steps.quicklook.lines import find_lines
from msa3d_steps.quicklook.moments import map_line
from msa3d_steps.quicklook.spectrum import aperture_of, integrate

OIII, OIII_WEAK, HBETA, HALPHA, NII = 0.500824, 0.4960295, 0.4862683, 0.656461, 0.658528
WAVES = {"n_wave": 700, "start": 1.16, "ny": 16, "nx": 16}  # 1.16 to 1.32 um
TRIPLET = Galaxy({OIII: 1.5e-3, OIII_WEAK: 1.5e-3 / 2.98, HBETA: 4e-4}, redshift=1.5)
EMPTY = Galaxy({})


def off(choice, rest, redshift):
    """Difference from where the line is, km/s."""
    return abs(choice.wavelength / (rest * (1 + redshift)) - 1) * C


def test_blind_and_named():
    """[OIII] is known by its doublet and H-beta, the place of the line as a whole to 10 km/s."""
    found = find_lines(view_of_galaxy(TRIPLET, seed=1, **WAVES))
    assert [c.name for c in found] == ["[OIII]5007", "[OIII]4959", "Hbeta"]
    for choice, rest in zip(found, (OIII, OIII_WEAK, HBETA), strict=True):
        assert off(choice, rest, 1.5) < 10
        assert choice.rest == rest
        assert choice.redshift == pytest.approx(1.5, abs=1e-4)


def test_redshift_is_refined():
    """From 1000 km/s off to within 10 km/s; H-alpha is not mistaken for [NII]."""
    near = Galaxy({HALPHA: 1.5e-3, NII: 3e-4}, redshift=0.9)
    view = view_of_galaxy(near, seed=2, **WAVES)
    for shift in (-1000, 0, 1000):
        found = find_lines(view, redshift=0.9 + 1.9 * shift / C)
        assert [c.name for c in found[:2]] == ["Halpha", "[NII]6583"]
        assert off(found[0], HALPHA, 0.9) < 10


def test_redshift_of_another_source():
    """No line can be the strongest there; so the line is found as if no redshift were given."""
    view = view_of_galaxy(TRIPLET, seed=1, **WAVES)
    found = find_lines(view, redshift=OIII * 2.5 / 0.6302046 - 1)  # [OI] would be there
    assert [c.name for c in found] == ["[OIII]5007", "[OIII]4959", "Hbeta"]
    (asked,) = find_lines(view, redshift=0.95, names=["Halpha"])
    assert asked.wavelength == pytest.approx(HALPHA * 1.95)


def test_lines_that_are_asked_for():
    view = view_of_galaxy(TRIPLET, seed=1, **WAVES)
    for name in ("Hb", "H-beta", "hbeta", "H\N{GREEK SMALL LETTER BETA}"):
        (found,) = find_lines(view, names=[name])
        assert found.name == "Hbeta"
    by_wavelength, by_name = find_lines(view, redshift=1.501, names=["1.23", "[OIII] 5007", "Paa"])
    assert (by_wavelength.name, by_wavelength.wavelength) == ("line at 1.2300 um", 1.23)
    assert by_wavelength.rest is None
    assert by_name.redshift == pytest.approx(1.5, abs=1e-4)
    assert find_lines(view, names=[2.5]) == ()  # not in the cube
    with pytest.raises(InputError, match=r"no line 'Hx' in the list.*one of Lya"):
        find_lines(view, names=["Hx"])


def test_unknown_stays_unknown():
    """One line alone has no name, unless one is given."""
    alone = Galaxy({OIII: 1e-3}, redshift=1.45)
    view = view_of_galaxy(alone, seed=3, **WAVES)
    (found,) = find_lines(view)
    assert (found.rest, found.redshift) == (None, None)
    assert found.name == f"line at {found.wavelength:.4f} um"
    assert off(found, OIII, 1.45) < 10
    (found,) = find_lines(view, names=["Halpha"])
    assert found.redshift == pytest.approx(OIII * 2.45 / HALPHA - 1, abs=1e-4)


def test_nothing_in_noise_or_continuum():
    """Ten cubes of noise, ten of a bright continuum that has a break in every other."""
    assert all(find_lines(view_of_galaxy(EMPTY, seed=s, **WAVES)) == () for s in range(10))
    for seed in range(10):
        bright = replace(EMPTY, continuum=5.0, slope=(seed - 5) / 20)
        view = view_of_galaxy(bright, seed=seed, **WAVES)
        if seed % 2:
            level = np.where(np.arange(700) < 350, 0.5, 1.0)[:, None, None]
            view = replace(view, data=(view.data * level).astype("f4"))
        assert find_lines(view) == ()
    assert find_lines(view_of_galaxy(EMPTY, seed=1, **WAVES), redshift=1.5) == ()


def test_faint_line_is_found():
    """Of 25 standard deviations in all: where it is, in each of ten cubes."""
    rng = np.random.default_rng(0)
    y, x, k = np.indices((16, 16, 700), sparse=True)
    for seed in range(10):
        view = view_of_galaxy(EMPTY, seed=seed, **WAVES)
        place = rng.uniform(80, 620)
        at = rng.uniform(5, 10, 2)
        line = np.exp(
            -0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / 1.2**2 - 0.5 * (k - place) ** 2
        )
        line = np.moveaxis(line, -1, 0)
        line *= 25 * 0.05 * 1.25 / np.sqrt((line**2).sum())  # 1.25: channels are correlated
        (found,) = find_lines(replace(view, data=(view.data + line).astype("f4")))
        lam = np.interp(place, np.arange(700), view.wavelengths)
        assert abs(found.wavelength - lam) < 1.5 * 2.3e-4


def test_bad_voxels_and_ends_are_no_lines():
    """A spike of a channel or two, and the last channels of a detector, however bright."""
    rng = np.random.default_rng(1)
    for seed in range(10):
        view = view_of_galaxy(EMPTY, seed=seed, **WAVES)
        data = view.data.copy()
        for number in range(5):
            k, (y, x) = 60 + 120 * number + rng.integers(40), rng.integers(2, 12, 2)
            height, part = rng.uniform(0.5, 20), rng.uniform()  # 10 to 400 standard deviations
            data[k, y : y + 2, x : x + 2] += height * part
            data[k + 1, y : y + 2, x : x + 2] += height * (1 - part)
        data[340:360] = np.nan  # between the detectors
        data[335:340] += np.array([0.02, 0.05, 0.1, 0.3, 0.6])[:, None, None]
        data[:4] += 0.5
        assert find_lines(replace(view, data=data)) == ()


def test_prism_blends_are_one_line():
    """Where a channel is 1500 km/s wide, H-alpha and [NII] are one line with both names."""
    blend = Galaxy({HALPHA: 3e-2, NII: 1e-2, OIII: 2e-2}, redshift=3.0, dispersion=1500)
    view = view_of_galaxy(blend, n_wave=120, start=1.8, step=0.011, ny=16, nx=16)
    noise = 0.05 * correlated_noise(np.random.default_rng(1), view.data.shape)
    view = replace(view, data=(view.data + noise).astype("f4"))
    names = [c.name for c in find_lines(view, redshift=3.0)]
    assert names[0] == "Halpha+[NII]6548+[NII]6583"
    assert names[1].startswith("[OIII]5007")
    assert len(names) == 2


@pytest.mark.parametrize("shape", [(1, 4, 4), (10, 1, 30), (40, 3, 3)])
def test_small_cubes(shape):
    """One channel, one row: there are no lines, or the line that is asked for, without a crash."""
    n_wave, ny, nx = shape
    view = view_of_galaxy(TRIPLET, seed=1, n_wave=n_wave, ny=ny, nx=nx, start=1.25)
    gone = replace(view, data=view.data * np.float32(np.nan))
    for one in (view, gone):
        for choice in find_lines(one, redshift=1.5, names=["[OIII]5007", 1.253]):
            assert map_line(one, choice).mask.shape == (ny, nx)
        found = integrate(one, aperture_of(one))
        assert found.flux.shape == (n_wave,)
        assert np.isnan(found.flux).all() == (one is gone)


def test_list_of_lines():
    """Ordered, no two of a name, and hydrogen as Rydberg's formula has it (to 2e-5)."""
    rests = [line.rest for line in LINES]
    assert rests == sorted(rests)
    assert len({line.name for line in LINES}) == len(LINES)
    rydberg = 10.967758340  # 1/um, for hydrogen (CODATA 2018)
    series = {
        "Lya": (1, 2), "Halpha": (2, 3), "Hbeta": (2, 4), "Hgamma": (2, 5), "Hdelta": (2, 6),
        "Hepsilon": (2, 7), "Paalpha": (3, 4), "Pabeta": (3, 5), "Pagamma": (3, 6),
        "Padelta": (3, 7), "Bralpha": (4, 5), "Brbeta": (4, 6), "Brgamma": (4, 7),
        "Brdelta": (4, 8),
    }  # fmt: skip
    for name, (low, high) in series.items():
        expected = 1 / (rydberg * (1 / low**2 - 1 / high**2))
        assert line_named(name).rest == pytest.approx(expected, rel=2e-5), name
