"""The published reduction of GO-2136 and ours with ``msa3d_cube_go2136.asdf``, of the same s2d.

The published one is written once more, in our own words, in `published_recipe.py`.
"""

import textwrap
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import gwcs
import numpy as np
import pytest
from astropy.modeling.models import (
    Identity,
    Mapping,
    Pix2Sky_TAN,
    Polynomial1D,
    RotateNative2Celestial,
    Tabular1D,
)
from conftest import write_association
from published_recipe import FINE, common_wavelengths, median_of_seen, published
from scene import _meta, _world, as_model, slit
from stpipe import Step

from msa3d_steps import MSACubeModel

REFERENCE = Path(__file__).parents[2] / "parameter_refs" / "msa3d_cube_go2136.asdf"
STEPS, DITHERS = 3, 7
STEP, DITHER = 0.2, 0.075  # arcsec, as commanded in GO-2136
PIXEL = 0.1  # arcsec, so that a dither is three fine rows
ROWS, COLUMNS = 16, 30
ANGLE, RA, DEC = 33.0, 150.1, 2.3  # of the slits, degrees


@dataclass(frozen=True)
class Spectrum:
    """A rectified spectrum and where it was taken."""

    data: np.ndarray  # (ROWS, COLUMNS), MJy/sr
    wavelength: np.ndarray  # (COLUMNS,), um
    step: int
    dither: int
    extra: float = 0.0  # arcsec along the slit that nobody has commanded


def snake():
    """Step and dither of each exposure, in the order of the file names."""
    for dither in range(DITHERS):
        steps = range(STEPS) if dither % 2 == 0 else reversed(range(STEPS))
        yield from ((step, dither) for step in steps)


def spectra_of(seed=1):
    """A galaxy with a line, much noise and outliers; wavelengths differ between exposures."""
    rng = np.random.default_rng(seed)
    column = np.arange(COLUMNS)
    made = []
    for step, dither in snake():
        start = 1.6 + 1e-4 * rng.uniform(0, 6)
        wavelength = start + 6.4e-4 * column + 2e-8 * rng.uniform(0.5, 1) * column**2
        along = PIXEL * (np.arange(ROWS) - ROWS / 2) + DITHER * (dither - DITHERS / 2)
        light = np.exp(-0.5 * (along[:, None] / 0.2) ** 2) * (2 - step)
        data = light * (1 + 5 * np.exp(-0.5 * ((wavelength - 1.61) / 8e-4) ** 2))
        data += rng.normal(0, 0.3, data.shape)
        data[rng.random(data.shape) < 0.02] += 50
        data[rng.random(data.shape) < 0.01] = np.nan
        made.append(Spectrum(data.astype(np.float32), wavelength, step, dither))
    return made


def place_of(step, along):
    """Offset on the sky, degrees east and north, for a step and arcsec along the slit."""
    s, c = np.sin(np.deg2rad(ANGLE)), np.cos(np.deg2rad(ANGLE))
    across = STEP * step
    return np.array([across * c + along * s, along * c - across * s]) / 3600


def sky():
    return Pix2Sky_TAN() | RotateNative2Celestial(RA, DEC, 180)


def model_of(number, spectrum):
    """A SlitModel with a WCS that knows sky and wavelength only."""
    start = place_of(spectrum.step, DITHER * spectrum.dither + spectrum.extra)
    rate = place_of(0, PIXEL)
    xi, eta = (Polynomial1D(1, c0=a, c1=b) for a, b in zip(start, rate, strict=True))
    wavelength = Tabular1D(np.arange(float(COLUMNS)), spectrum.wavelength, bounds_error=False)
    whole = Mapping((1, 1, 0), n_inputs=2) | xi & eta & wavelength | sky() & Identity(1)
    wcs = gwcs.WCS([(gwcs.coordinate_frames.Frame2D(name="detector"), whole), (_world(), None)])
    template = SimpleNamespace(meta=_meta("NRS1", "G140H", "F100LP"), source=(RA, DEC))
    model = as_model(slit(template, wcs, sky()(*start), spectrum.data, number))
    model.meta.filename = model.meta.filename.replace("cal", "s2d")
    return model


def cube_of(spectra, folder, *options):
    """The cube that the one command makes of s2d files."""
    names = []
    for number, spectrum in enumerate(spectra, 1):
        model = model_of(number, spectrum)
        model.save(str(folder / model.meta.filename))
        names.append(model.meta.filename)
    path = write_association(folder, names)
    Step.from_cmdline([str(REFERENCE), str(path), f"--output_dir={folder}", *options])
    (made,) = folder.glob("*_s3d.fits")
    return MSACubeModel(made)


def columns_of(cube):
    """The columns at the middles of the steps, from the fine row 0 on: ``(n_wave, n, STEPS)``."""
    found = []
    for step in range(STEPS):
        ra, dec = sky()(*place_of(step, 0.0))
        x, y, _ = cube.meta.wcs.invert(ra, dec, cube.wavelengths[0])
        assert y == pytest.approx(round(y), abs=1e-3)  # fine rows are rows of the cube
        found.append(cube.data[:, round(y) :, round(x)])
    return np.stack(found, axis=2)


@dataclass(frozen=True)
class Both:
    """One set of spectra, our cube of it and the grid of wavelengths as published."""

    spectra: list
    cube: MSACubeModel
    columns: np.ndarray
    grid: np.ndarray

    def theirs(self, fill, median):
        """The published columns on the rows and channels that both have."""
        spectra = [(s.data, s.wavelength) for s in self.spectra]
        found = published(spectra, self.grid, STEPS, DITHERS, DITHER, PIXEL, fill, median)
        return found[:, : self.columns.shape[1]]

    @property
    def ours(self):
        return self.columns[: self.grid.size]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    spectra = spectra_of()
    cube = cube_of(spectra, tmp_path_factory.mktemp("go2136"))
    grid = common_wavelengths([s.wavelength for s in spectra])
    return Both(spectra, cube, columns_of(cube), grid)


def difference(ours, theirs, where=True):
    """Differences over the peak of the latter, where both are defined."""
    where = where & np.isfinite(ours) & np.isfinite(theirs)
    return np.abs(ours - theirs)[where] / np.nanmax(np.abs(theirs[where]))


def test_grid_is_the_published_one(both):
    """Spaxels of a quarter pixel, channels of the smallest step from the first wavelength on."""
    cube = both.cube
    assert cube.meta.wcsinfo.cdelt1 * 3600 == pytest.approx(PIXEL / FINE, rel=1e-6)
    np.testing.assert_allclose(cube.wavelengths[: both.grid.size], both.grid, atol=2e-7)
    assert (cube.meta.msa3d.n_steps, cube.meta.msa3d.n_dithers) == (STEPS, DITHERS)
    assert cube.meta.msa3d.cube_pa == pytest.approx(ANGLE, abs=1e-4)
    assert (cube.meta.msa3d.method, cube.meta.msa3d.weighting) == ("linear", "median")


def test_medians_are_the_published_ones(both):
    """To 1e-5 of the peak wherever all dithers have data: 41% of what we define.

    Elsewhere the published medians have zeros among their samples for dithers that did not see the
    place, or are NaN for one NaN among them.
    """
    seen = np.isfinite(both.theirs(np.nan, np.median))  # no sample is NaN
    theirs = both.theirs(0.0, np.median)
    found = difference(both.ours, theirs, seen)
    assert found.max() < 1e-5
    assert found.size / np.isfinite(both.ours).sum() == pytest.approx(0.41, abs=0.03)
    assert not (seen & np.isnan(both.ours)).any()
    assert (difference(both.ours, theirs, ~seen) > 0.01).mean() > 0.3  # that is the zeros


def test_only_zeros_and_nan_make_the_difference(both):
    """Without the zeros, and with NaN left out of medians, all voxels agree to 1e-5."""
    theirs = both.theirs(np.nan, median_of_seen)
    np.testing.assert_array_equal(np.isfinite(both.ours), np.isfinite(theirs))
    assert difference(both.ours, theirs).max() < 1e-5


def test_columns_of_a_step_are_equal(both):
    """A step is seven or eight columns of 0.025", as those are that lie in its slit of 0.196".

    Columns that two slits share have the mean of both, weighted by what is covered; none is empty.
    """
    white = np.nansum(both.cube.data, axis=(0, 1))
    assert (white != 0).all()
    _, numbers = np.unique(white.round(3), return_counts=True)
    assert sorted(numbers) == [1, 1, 7, 8, 8]


def test_middle_columns_as_the_docs_find_them(both):
    """The example of docs/go2136.md gives the columns at the middles of the steps."""
    text = (REFERENCE.parents[1] / "docs" / "go2136.md").read_text(encoding="utf-8")
    example = text[text.index("    table, nx") : text.index("```", text.index("    table, nx"))]
    space = {"np": np, "cube": both.cube}
    exec(textwrap.dedent(example), space)  # noqa: S102 - our own text
    found = space["medians"][:, -both.columns.shape[1] :]
    np.testing.assert_array_equal(found, both.columns)


def test_places_are_those_of_the_wcs(both, tmp_path):
    """A dither that is off by one fine row is seen there; the published one does not know."""
    moved = [replace(s, extra=PIXEL / FINE * (s.dither == 3)) for s in both.spectra]
    channels = slice(10, 15)
    half = 0.5 * (both.grid[1] - both.grid[0])
    low, high = both.grid[channels][[0, -1]] + [-half, half]
    cube = cube_of(moved, tmp_path, f"--wavemin={low}", f"--wavemax={high}")
    theirs = both.theirs(0.0, np.median)[channels]
    seen = np.isfinite(both.theirs(np.nan, np.median)[channels])
    assert difference(both.ours[channels], theirs, seen).max() < 1e-5
    found = difference(columns_of(cube), theirs, seen)
    assert (found > 1e-5).mean() > 0.2  # a median of seven does not always move
    assert found.max() > 0.02
