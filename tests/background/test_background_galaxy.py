"""Cubes of a simulated galaxy with sky subtracted against cubes of the same without any sky."""

import numpy as np
import pytest

from msa3d_steps import MSA3DBackgroundStep, MSA3DCubeStep
from msa3d_steps.simulate.bench import prepare
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.detector.exposing import expose
from msa3d_steps.simulate.exposure import cal_model

COMPACT = {
    "scale_length": 0.12, "inclination": 50.0, "position_angle": 60.0, "rotation": 220.0,
    "bulge": 0.2, "clumps": [[0.1, -0.05, 0.1]], "across": 0.03, "along": -0.05,
    "redshift": 1.6, "h_alpha": 40.0, "continuum": 6.0, "slope": 0.5,
}  # fmt: skip
EXTENDED = {**COMPACT, "scale_length": 0.2, "position_angle": 100.0}
GALAXIES = {"s000000001": COMPACT, "s000000002": EXTENDED}
ZODIACAL = 1.0  # MJy/sr at 1.3 um; the galaxies' brightest places have 3 and 2
LOW, LINE, HIGH = 1.280, 1.297, 1.308  # um; [OIII]5007 is at 1.3021


@pytest.fixture(scope="module")
def exposures(tmp_path_factory):
    """NRS1's exposures without and with sky, noise-free with the variances of noise."""
    folder = tmp_path_factory.mktemp("bench")
    survey = Survey(
        noise=False, steps=3, dithers=2, dither=0.05, sources=tuple(GALAXIES.values()),
        zodiacal=ZODIACAL,
    )  # fmt: skip
    bench = prepare(survey, folder, folder / "msa.fits")
    slits, responses = bench.slits["NRS1"], bench.responses["NRS1"]
    result = [], []
    for name in (name for name in bench.names() if name.detector == "NRS1"):
        with_sky = bench.brightness(name)
        without = [
            light - bench.scene.background(slit.pixels.lam)
            for light, slit in zip(with_sky, slits, strict=True)
        ]
        for models, light in zip(result, (without, with_sky), strict=True):
            rate = bench.rate(name, light)
            exposed = expose(rate, 1800.0, name.detector, bench.noise, 1, name.number)
            meta, to_sky = bench.metadata(name), bench.to_sky(name)
            models.append(cal_model(meta, name, slits, exposed, responses, to_sky))
    return result


def fluxes(models):
    """Continuum and line flux of the whole field of each galaxy, and what the cube says."""
    cubes = MSA3DCubeStep.call(models, wavemin=LOW, wavemax=HIGH, scalexy=0.1)
    result = {}
    for cube in cubes:
        total = np.nansum(cube.data, axis=(1, 2))
        lam = np.linspace(LOW, HIGH, total.size)
        continuum = total[lam < LINE].mean()
        line = (total - continuum)[lam > LINE].sum()
        status = cube.meta.cal_step.master_background
        result[cube.meta.msa3d.source_label] = continuum, line, status
    return result


def test_flux_of_the_galaxies(exposures):
    """Within 0.5% of the flux without sky."""
    without, with_sky = exposures
    wanted, found = fluxes(without), fluxes(MSA3DBackgroundStep.call(with_sky))
    assert set(wanted) == set(found) == set(GALAXIES)
    for label, (continuum, line, _) in wanted.items():
        assert found[label][0] == pytest.approx(continuum, rel=5e-3)
        assert found[label][1] == pytest.approx(line, rel=5e-3)
        assert found[label][2] == "COMPLETE"
    for label, (continuum, _, status) in fluxes(with_sky).items():
        assert continuum > 2 * wanted[label][0]  # there was something to subtract
        assert status is None
