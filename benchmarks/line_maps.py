"""Line maps against the truth of simulated surveys, and the blind search on noise.

``python -W ignore benchmarks/line_maps.py SURVEY CUBES [SURVEY CUBES ...]`` maps four lines of each
galaxy in cubes with noise and in noise-free cubes as a perfect reduction would give them (the scene
seen through point spread function and slits, averaged over channels as drizzle does), and prints
the mean squares of their differences over the errors of the maps. Make them with
``msa3d_simulate SURVEY --seed=N`` and ``strun SURVEY/msa3d_cube.asdf --output_dir=CUBES``.

``python -W ignore benchmarks/line_maps.py --search N`` looks for lines in N cubes of noise, of
continua and of faint lines.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage
from speed import print_table

from msa3d_steps import MSACubeModel
from msa3d_steps.quicklook.lines import LineChoice, find_lines
from msa3d_steps.quicklook.moments import map_line
from msa3d_steps.quicklook.view import CubeView, view_of
from msa3d_steps.simulate.record import read_truth
from msa3d_steps.simulate.scene.measure import drizzled
from msa3d_steps.simulate.scene.sources import SPEED_OF_LIGHT, Scene
from msa3d_steps.simulate.scene.truth import expected_cube, read_grid

LINES = ("[OIII]5007", "Halpha", "Hbeta", "[NII]6583")
MAPS = ("velocity", "flux", "dispersion")
BINS = ((3, 5), (5, 10), (10, 30), (30, np.inf), (5, np.inf))
WINDOW = 3600.0  # km/s on either side of a line

SHAPE = (1200, 25, 25)
NOISE = 0.05  # MJy/sr
IN_NEXT = (0.16, 0.35, 0.35)  # of the noise of a voxel in its neighbours, along each axis


def main():
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--search", type=int, metavar="N")
    options = parser.parse_args()
    if options.search:
        search(options.search)
    pairs = zip(options.folders[::2], options.folders[1::2], strict=True)
    found = [row for survey, cubes in pairs for row in differences(survey, cubes)]
    if found:
        print_chi2(np.concatenate(found, axis=1))


def differences(survey, cubes):
    """Yield S/N and differences over errors of the spaxels of each line, shape ``(4, n)``."""
    truth = read_truth(survey)
    for path in sorted(cubes.glob("*_s3d.fits")):
        source = truth.source(fits.getval(path, "SOURCEID"))
        view = view_of(MSACubeModel(path))
        scene = Scene((source,), truth.scene.zodiacal, truth.scene.zodiacal_slope)
        for line in (line for line in source.lines if line.name in LINES):
            centre = source.observed(line)
            choice = LineChoice(line.name, line.wavelength, centre, source.redshift)
            low, high = (centre * (1 + v / SPEED_OF_LIGHT) for v in (-WINDOW, WINDOW))
            grid = read_grid(path).window(low, high)
            here = np.isin(view.wavelengths, grid.wavelengths)
            if here.sum() < 2 or not np.isfinite(view.data[here]).any():
                continue
            cutouts = truth.cutouts(source.source_id)
            expected, covered = expected_cube(scene, truth.psf, grid, cutouts)
            data = np.full(view.data.shape, np.nan)
            data[here] = drizzled(expected)
            err = np.where(np.isfinite(data), view.err, np.nan)
            maps = map_line(view, choice)
            wanted = map_line(replace(view, data=data, err=err), choice, snr=0)
            good = (maps.mask == 0) & (covered > 0.95).all(axis=0)
            rows = [
                (getattr(maps, name) - getattr(wanted, name)) / getattr(maps, f"{name}_err")
                for name in MAPS
            ]
            found = np.array([maps.snr, *rows])[:, good]
            chi2 = np.nanmean(found[1:, found[0] > 5] ** 2, axis=1)
            print(survey, source.source_id, line.name, good.sum(), chi2.round(2), flush=True)
            yield found


def print_chi2(found):
    """Print the table by S/N."""
    rows = []
    for low, high in BINS:
        some = found[1:, (found[0] > low) & (found[0] <= high)]
        chi2, mean = np.nanmean(some**2, axis=1), np.nanmean(some, axis=1)
        name = f"{low} to {high:.0f}" if np.isfinite(high) else f"more than {low}"
        cells = (f"{c:.2f} ({m:+.2f})" for c, m in zip(chi2, mean, strict=True))
        rows.append((name, str(some.shape[1]), *cells))
    print_table(
        "line maps against the truth: chi2 per spaxel (mean difference over error)",
        ("S/N of the line", "spaxels", *MAPS), rows,
    )  # fmt: skip


def search(number):
    """Count lines that are found where there are none, and where there are."""
    rng = np.random.default_rng(5)
    y, x = np.indices(SHAPE[1:])
    source = np.exp(-0.5 * ((y - 12) ** 2 + (x - 12) ** 2) / 4)
    rows = [("noise", sum(bool(find_lines(noise(rng))) for _ in range(number)))]
    for peak in (4, 20, 100):
        found = 0
        for i in range(number):
            view = noise(rng)
            lam = view.wavelengths
            level = (lam / lam[0]) ** rng.uniform(-3, 3) * (1 + 0.1 * np.sin(lam / 0.03))
            level *= np.where(lam > lam[600], 1, 0.5) if i % 2 else 1
            data = view.data + peak * NOISE * source * level[:, None, None]
            found += bool(find_lines(replace(view, data=data.astype("f4"))))
        rows.append((f"continuum, S/N {peak} per voxel, half with a break", found))
    for total in (6, 8, 10, 15):
        found = 0
        for _ in range(number):
            view = noise(rng)
            place, width, at = rng.uniform(80, 1120), rng.uniform(1, 2), rng.uniform(8, 16, 2)
            line = np.exp(-0.5 * ((np.arange(SHAPE[0]) - place) / width) ** 2)[:, None, None]
            line = line * np.exp(-0.5 * ((y - at[0]) ** 2 + (x - at[1]) ** 2) / 1.2**2)
            line *= total * NOISE * np.linalg.norm(spread(line)) / (line**2).sum()
            choices = find_lines(replace(view, data=(view.data + line).astype("f4")))
            lam = np.interp(place, np.arange(SHAPE[0]), view.wavelengths)
            found += bool(choices) and abs(choices[0].wavelength - lam) < 3 * 2.3e-4
        rows.append((f"line of S/N {total}, weighted by its own profile", found))
    print_table(
        f"lines that the blind search finds, in {number} cubes of {SHAPE} voxels",
        ("cubes", "found in"), [(name, str(found)) for name, found in rows],
    )  # fmt: skip


def spread(cube):
    """Convolve a cube with what makes noise correlated."""
    for axis, share in enumerate(IN_NEXT):
        kernel = np.array([share, 1, share]) / np.sqrt(1 + 2 * share**2)
        cube = ndimage.correlate1d(cube, kernel, axis=axis, mode="wrap")
    return cube


def noise(rng):
    """Make a cube of noise whose neighbouring voxels are correlated."""
    data = spread(rng.normal(size=SHAPE))
    kernels = [np.array([s, 1, s]) / np.sqrt(1 + 2 * s**2) for s in IN_NEXT]

    def factor(axis, n):
        return np.sqrt((np.convolve(kernels[axis], np.ones(n)) ** 2).sum() / n)

    table = [
        (s, n, factor(1, s) * factor(2, s) * factor(0, n), 0.0)
        for s in range(1, 8)
        for n in (1, 2, 3, 5, 10)
    ]
    kind = [("spaxels", "i2"), ("channels", "i2"), ("factor", "f4"), ("spread", "f4")]
    return CubeView(
        title="noise", name="", data=(NOISE * data).astype("f4"),
        err=np.full(SHAPE, NOISE, "f4"), etime=None,
        wavelengths=1.0 + 2.3e-4 * np.arange(SHAPE[0]), wcs=WCS(naxis=2), scale=0.1,
        correlation=np.array(table, dtype=kind),
    )  # fmt: skip


if __name__ == "__main__":
    main()
