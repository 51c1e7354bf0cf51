"""The sky that msa3d_background measures, against the sky that was put in.

``python -W ignore benchmarks/background.py`` simulates galaxies in G140H without noise, adds skies
of 0.1, 1 and 10 times the galaxy's mean continuum with different slopes, and noise, and measures
the sky. Printed for each: sky measured - sky put in, in units of its stated uncertainty (mean
square over realisations and wavelengths), and that uncertainty.
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np
from speed import print_table

from msa3d_steps.background.sourcefree import measure_sky
from msa3d_steps.cube.inputs import Selection
from msa3d_steps.cube.reading import cutouts_of_model
from msa3d_steps.errors import InputError
from msa3d_steps.simulate.bench import prepare
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.detector.exposing import expose
from msa3d_steps.simulate.exposure import cal_model

GALAXIES = {
    "compact": {"scale_length": 0.10, "inclination": 45.0, "position_angle": 60.0, "bulge": 0.2},
    "default": {"scale_length": 0.18, "inclination": 50.0, "position_angle": 80.0, "bulge": 0.1},
    "large, across": {"scale_length": 0.30, "inclination": 55.0, "position_angle": 120.0},
    "large, along": {"scale_length": 0.30, "inclination": 55.0, "position_angle": 30.0},
}
COMMON = {"rotation": 200.0, "redshift": 1.6, "h_alpha": 40.0, "continuum": 6.0, "slope": 0.5}


@dataclasses.dataclass(frozen=True)
class Observed:
    """A source without noise and sky.

    Parameters
    ----------
    cutouts : list of Cutout
        Its cutouts, whose data are the galaxy alone.
    poisson : list of ndarray
        Poisson variance for 1 MJy/sr.
    wavelength : list of ndarray
        Wavelengths of the pixels, um.
    continuum : float
        Mean continuum of the galaxy where it is brighter than a tenth of its peak, MJy/sr.
    """

    cutouts: list
    poisson: list
    wavelength: list
    continuum: float

    def with_sky(self, sky, random):
        """Add a sky and noise; the stated variance follows the noisy value, as jwst has it."""
        result = []
        for c, poisson, lam in zip(self.cutouts, self.poisson, self.wavelength, strict=True):
            light = c.data + sky(lam)
            sigma = np.sqrt(c.read_variance + poisson * np.maximum(light, 0))
            data = light + sigma * random.standard_normal(light.shape)
            variance = c.read_variance + poisson * np.maximum(data, 0)
            result.append(
                dataclasses.replace(
                    c, data=data.astype(np.float32), variance=variance.astype(np.float32)
                )
            )
        return result


def simulate(galaxy, steps, dithers, dither, shutters=5):
    """Observe a galaxy without noise and take the sky off again."""
    with tempfile.TemporaryDirectory() as folder:
        survey = Survey(
            n_sources=1, noise=False, steps=steps, dithers=dithers, dither=dither,
            shutters=shutters, zodiacal=1.0, sources=({**COMMON, **galaxy},),
        )  # fmt: skip
        bench = prepare(survey, folder, Path(folder) / "msa.fits")
        entries = []
        for name in bench.names():
            rate = bench.rate(name, bench.brightness(name))
            exposed = expose(
                rate, survey.exposure_time, name.detector, bench.noise, survey.seed, name.number
            )
            model = cal_model(
                bench.metadata(name), name, bench.slits[name.detector], exposed,
                bench.responses[name.detector], bench.to_sky(name),
            )  # fmt: skip
            entries += cutouts_of_model(name.file("cal"), model, Selection()).entries
    cutouts, poisson, wavelengths, bright = [], [], [], []
    for entry in entries:
        c = entry.cutout
        ny, nx = c.data.shape
        lam = c.footprint.wavelength(np.arange(nx), np.arange(ny))
        poisson.append(np.where(np.isfinite(c.data), (c.variance - c.read_variance) / c.data, 0))
        data = (c.data - bench.scene.background(lam)).astype(np.float32)
        cutouts.append(dataclasses.replace(c, data=data))
        wavelengths.append(lam)
        bright.append(np.nanmedian(data, axis=1, keepdims=True)[np.isfinite(data).sum(1) > nx / 4])
    bright = np.concatenate(bright)
    return Observed(
        cutouts, poisson, wavelengths, float(bright[bright > 0.1 * bright.max()].mean())
    )


def measure(observed, level, slope, realisations, seed=0):
    """Measure skies; a row of the table."""
    random = np.random.default_rng(seed)

    def sky(lam):
        return level * observed.continuum * (lam / 1.3) ** slope

    squares, errors, biases = [], [], []
    start = time.perf_counter()
    for _ in range(realisations):
        try:
            found = measure_sky(observed.with_sky(sky, random))
        except InputError as err:
            return [str(err)[:60]]
        off = found.brightness - sky(found.wavelength)
        squares.append((off / found.uncertainty) ** 2)
        errors.append(found.uncertainty)
        biases.append(off)
    seconds = (time.perf_counter() - start) / realisations
    squares = [s.mean() for s in squares]
    return [
        f"{np.mean(squares):.2f} +- {np.std(squares) / np.sqrt(realisations):.2f}",
        f"{100 * np.mean(np.concatenate(errors)) / (level * observed.continuum):.3f}%",
        f"{100 * np.mean(np.concatenate(biases)) / observed.continuum:+.3f}%",
        f"{100 * np.mean(np.concatenate(errors)) / observed.continuum:.3f}%",
        f"{seconds:.1f}",
    ]


def main():
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--dithers", type=int, default=3)
    parser.add_argument("--dither", type=float, default=0.075, help="arcsec")
    parser.add_argument("--shutters", type=int, default=5)
    parser.add_argument("--realisations", type=int, default=10)
    parser.add_argument("--galaxies", nargs="+", choices=GALAXIES, default=list(GALAXIES))
    options = parser.parse_args()
    rows = []
    for name in options.galaxies:
        observed = simulate(
            GALAXIES[name], options.steps, options.dithers, options.dither, options.shutters
        )
        for level, slope in ((0.1, -0.4), (1.0, 2.0), (10.0, -2.0)):
            row = measure(observed, level, slope, options.realisations)
            rows.append([name, f"{level:g} x continuum, slope {slope:g}", *row])
    print_table(
        f"sky of {options.steps} steps x {options.dithers} dithers",
        ("galaxy", "sky", "chi2", "error / sky", "bias / continuum", "error / continuum", "s"),
        rows,
    )


if __name__ == "__main__":
    main()
