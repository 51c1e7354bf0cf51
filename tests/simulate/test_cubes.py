"""Cubes of a simulated survey against its truth: G140H, both detectors, 5 steps x 3 dithers."""

import dataclasses
import os

import numpy as np
import pytest

from msa3d_steps import MSA3DCubeStep
from msa3d_steps.simulate.bench import prepare
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.detector.exposing import Exposure, expose
from msa3d_steps.simulate.exposure import cal_model
from msa3d_steps.simulate.scene.measure import line_window, measure_line
from msa3d_steps.simulate.scene.sources import Scene
from msa3d_steps.simulate.scene.truth import expected_cube, read_grid, truth_cube

GALAXY = {
    "scale_length": 0.12, "inclination": 50.0, "position_angle": 60.0, "rotation": 220.0,
    "turnover": 0.1, "across": 0.03, "along": -0.05, "bulge": 0.2, "clumps": [[0.1, -0.05, 0.1]],
    "redshift": 1.6, "h_alpha": 40.0, "continuum": 6.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    survey = Survey(n_sources=1, noise=False, sources=(GALAXY,))
    return prepare(survey, folder, folder / "msa.fits")


def noise_free(bench, name):
    """An exposure whose values are the light alone, with the variances of one."""
    rate = bench.rate(name, bench.brightness(name))
    flat = np.full(rate.shape, 1e-5, np.float32)
    none = np.zeros(rate.shape, np.uint32)
    return Exposure(rate, np.sqrt(2 * flat), flat, flat, none, rate, none > 0)


def noisy(bench, name):
    rate = bench.rate(name, bench.brightness(name))
    model = dataclasses.replace(bench.noise, noise=True)
    return expose(rate, 1800.0, name.detector, model, 5, name.number)


def cube_of(bench, make, path, names=None, **options):
    """Build the cube out of the exposures; returns its grid, data and errors."""
    models = [
        cal_model(
            bench.metadata(name), name, bench.slits[name.detector], make(bench, name),
            bench.responses[name.detector], bench.to_sky(name),
        )
        for name in names or bench.names()
    ]  # fmt: skip
    (cube,) = MSA3DCubeStep.call(models, **options)
    cube.save(path)
    return read_grid(path), np.asarray(cube.data, float), np.asarray(cube.err, float)


@pytest.fixture(scope="module")
def cube(bench, tmp_path_factory):
    return cube_of(bench, noise_free, tmp_path_factory.mktemp("cube") / "x_s3d.fits")


@pytest.mark.parametrize("name", ["Hbeta", "[OIII]5007", "Halpha"])
def test_lines(bench, cube, name):
    """Flux within 0.2%, centroid within 1 mas, rotation within 1 km/s of what slits can show.

    Measured here and for the galaxies of the default survey, which fill the field: flux at most
    0.11% off, centroid 0.5 mas, rotation 0.5 km/s.
    """
    grid, data, _ = cube
    source = bench.scene.sources[0]
    line = next(line for line in source.lines if line.name == name)
    low, high = line_window(source, line)
    window = grid.window(low, high)
    data = data[(grid.wavelengths >= low) & (grid.wavelengths <= high)]
    scene = Scene((source,), bench.scene.zodiacal, bench.scene.zodiacal_slope)
    expected, covered = expected_cube(scene, bench.psf, window, bench.cutouts(1), points=400)
    inside = (covered > 0.9).all(axis=0) & np.isfinite(data).all(axis=0)
    found = measure_line(source, line, window, data, None, inside)
    wanted = measure_line(source, line, window, expected, None, inside)
    assert found.flux == pytest.approx(wanted.flux, rel=2e-3)
    assert 1e3 * found.east == pytest.approx(1e3 * wanted.east, abs=1)
    assert 1e3 * found.north == pytest.approx(1e3 * wanted.north, abs=1)
    assert found.rotation == pytest.approx(wanted.rotation, abs=1)
    assert wanted.rotation > 70

    # and the truth without any slit: nothing is lost or moved; rotation is blurred by the slits
    dispersion = bench.slits["NRS1"][0].pixels.dispersion
    true = measure_line(
        source, line, window, truth_cube(scene, bench.psf, window, dispersion), None, inside
    )
    assert found.flux == pytest.approx(true.flux, rel=0.01)
    assert np.hypot(found.east - true.east, found.north - true.north) < 0.01
    assert found.rotation < true.rotation


def test_continuum(bench, cube):
    """The continuum's flux on NRS1 and NRS2: within 0.1% of what slits can show."""
    grid, data, _ = cube
    source = bench.scene.sources[0]
    scene = Scene((source,), bench.scene.zodiacal, bench.scene.zodiacal_slope)
    for lam in (1.1, 1.4, 1.6, 1.72):
        window = grid.window(lam - 2e-3, lam + 2e-3)
        shown = data[np.abs(grid.wavelengths - lam) <= 2e-3]
        expected, covered = expected_cube(scene, bench.psf, window, bench.cutouts(1), points=400)
        inside = (covered > 0.9).all(axis=0) & np.isfinite(shown).all(axis=0)
        sky = scene.background(lam) * inside.sum()
        found, wanted = (c[:, inside].sum(axis=1).mean() - sky for c in (shown, expected))
        assert found == pytest.approx(wanted, rel=1e-3)
        true = truth_cube(scene, bench.psf, window)[:, inside].sum(axis=1).mean() - sky
        assert found == pytest.approx(true, rel=1e-2)  # the slits blur 0.5% out of the field


@pytest.mark.skipif(not os.environ.get("MSA3D_LONG"), reason="set MSA3D_LONG=1: it takes long")
def test_noise_of_a_cube(bench, cube, tmp_path):
    """(noisy - noise-free) / ERR has width 1 within 2%; the errors are of the noisy exposures."""
    names = [n for n in bench.names() if n.detector == "NRS2"]
    same = {"wavemin": 1.56, "wavemax": 1.80}
    _, clean, _ = cube_of(bench, noise_free, tmp_path / "clean_s3d.fits", names, **same)
    _, data, err = cube_of(bench, noisy, tmp_path / "noisy_s3d.fits", names, **same)
    pull = ((data - clean) / err)[np.isfinite(data) & np.isfinite(clean)]
    assert pull.size > 1e5
    assert pull.std() == pytest.approx(1, abs=0.02)
    assert np.mean(pull) == pytest.approx(0, abs=0.02)
