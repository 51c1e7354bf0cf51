"""Cubes of a simulated survey against its truth: flux, centroid and rotation of each line.

``python -W ignore benchmarks/cubes_against_truth.py SURVEY CUBES`` compares the cubes in the folder
CUBES with the truth in the folder SURVEY, through point spread function and slits. Make them with
``msa3d_simulate SURVEY --level=rate --no-noise``, ``msa3d_asn SURVEY -o CUBES`` and ``strun`` on
the run file.
"""

import argparse
from pathlib import Path

import numpy as np
from astropy.io import fits
from speed import print_table

from msa3d_steps.simulate.record import read_truth
from msa3d_steps.simulate.scene.measure import line_window, measure_line
from msa3d_steps.simulate.scene.sources import Scene
from msa3d_steps.simulate.scene.truth import expected_cube, read_grid

LINES = ("Hbeta", "[OIII]4959", "[OIII]5007", "Halpha")
"""The other lines lie beside brighter ones, where a straight continuum cannot be drawn."""

TARGETS = ("wanted", "", "0.5%", "3", "5")


def main():
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("survey", type=Path)
    parser.add_argument("cubes", type=Path)
    options = parser.parse_args()
    truth = read_truth(options.survey)
    rows = [
        row for path in sorted(options.cubes.glob("*_s3d.fits")) for row in compare(truth, path)
    ]
    print_table(
        "cubes against the truth seen through the slits",
        ("source", "line", "flux off", "centroid off, mas", "rotation off, km/s"),
        [*rows, TARGETS],
    )


def compare(truth, path):
    """Yield a row of the table for each line of the source that the cube has."""
    source = truth.source(fits.getval(path, "SOURCEID"))
    data = fits.getdata(path, "SCI").astype(float)
    scene = Scene((source,), truth.scene.zodiacal, truth.scene.zodiacal_slope)
    whole, cutouts = read_grid(path), truth.cutouts(source.source_id)
    for line in (line for line in source.lines if line.name in LINES):
        low, high = line_window(source, line)
        window = (whole.wavelengths >= low) & (whole.wavelengths <= high)
        if not window.any() or not np.isfinite(data[window]).any():
            continue
        grid = whole.window(low, high)
        expected, covered = expected_cube(scene, truth.psf, grid, cutouts, points=400)
        inside = (covered > 0.9).all(axis=0) & np.isfinite(data[window]).all(axis=0)
        if not inside.any():
            continue  # in the gap between the detectors
        found = measure_line(source, line, grid, data[window], None, inside)
        wanted = measure_line(source, line, grid, expected, None, inside)
        yield (
            str(source.source_id), line.name, f"{100 * (found.flux / wanted.flux - 1):+.3f}%",
            f"{1e3 * np.hypot(found.east - wanted.east, found.north - wanted.north):.2f}",
            f"{found.rotation - wanted.rotation:+.2f}",
        )  # fmt: skip


if __name__ == "__main__":
    main()
