"""What the inverse solution gains over drizzle, and what it costs.

``python -W ignore benchmarks/inverse.py [SURVEY]``: points of light (FWHM 0.07") and a galaxy
(0.35") with known truth in steps of a slit and less, at several S/N; with the folder of a simulated
survey also time and memory on its first source. Scene and measurement are those of the tests.
"""

import argparse
import logging
import resource
import sys
from pathlib import Path
from time import process_time

import numpy as np
from speed import print_table

TESTS = Path(__file__).parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "cube")]

import scene  # noqa: E402
import test_inverse as known  # noqa: E402
from scene import Blob, pattern, sample, synthetic_template  # noqa: E402

from msa3d_steps.cube.combine import CombineOptions, combine  # noqa: E402
from msa3d_steps.cube.grid import GridOptions, make_grid  # noqa: E402
from msa3d_steps.cube.inputs import Selection, collect_sources, find_members  # noqa: E402
from msa3d_steps.cube.inverse.solve import invert  # noqa: E402
from msa3d_steps.cube.layout import Layout  # noqa: E402
from msa3d_steps.cube.pattern import find_pattern  # noqa: E402

RATIOS = (5, 10, 20, 50, 100, 200)
"""S/N of the brightest voxel of the drizzled cube, spaxels of 0.1"."""

HEAD = (
    'smoothing, "', 'response, "', "of drizzle", "gain", "source: gain", "flux", "of drizzle",
    "noise", "scatter / ERR",
)  # fmt: skip

PATTERNS = {
    "steps of a slit": pattern(9, 3, 0.2, 0.035),
    'steps of 0.15"': pattern(13, 3, 0.15, 0.035),
    "steps of half a slit": pattern(17, 3, 0.1, 0.035),
    "steps of a third": pattern(25, 3, 0.0667, 0.035),
}


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("survey", nargs="?", type=Path, help="folder of a simulated survey")
    survey = parser.parse_args().survey
    logging.disable(logging.WARNING)
    template = synthetic_template(shape=(22, 24))
    scene.N_ALONG, scene.N_WAVE = 8, 2
    sampling = sample(template.wcs, template.shape)
    points, galaxy = known.points(template), [Blob(1.0, *template.source, 0.15)]
    half = PATTERNS["steps of half a slit"]
    for name, blobs in (("points of light", points), ("galaxy", galaxy)):
        cutouts = known.expose(template, sampling, half, blobs)
        rows = [(f"S/N {ratio}", *measure(cutouts, blobs, ratio)) for ratio in RATIOS]
        print_table(f"{name}, steps of half a slit", ("", *HEAD), rows)
    for scale in (0.05, 0.1, 0.2):
        rows = []
        for name, offsets in PATTERNS.items():
            cutouts = known.expose(template, sampling, offsets, points)
            rows.append((name, *measure(cutouts, points, 50, scale)))
        print_table(f'points of light, S/N 50, spaxels of {scale}"', ("", *HEAD), rows)
    if survey:
        cost(survey)


def measure(cutouts, blobs, ratio, scale=0.1):
    """Measure a row of the table."""
    clean, noisy = known.with_noise(cutouts, known.error_for(cutouts, ratio))
    grid, _, voxels, sharpness = known.build(noisy, scale)
    _, expected_drizzled, expected, _ = known.build(clean, scale, sharpness.smoothing)
    before, after = (
        known.widths(v, grid, cutouts, blobs)[0] for v in (expected_drizzled, expected)
    )
    total = sum(blob.flux for blob in blobs)
    flux, of_drizzle = (known.flux(v, grid) / total - 1 for v in (expected, expected_drizzled))
    pull = (voxels.data - expected.data) / voxels.err
    return (
        f"{sharpness.smoothing:.3f}",
        f"{sharpness.across:.3f} x {sharpness.along:.3f}",
        f"{sharpness.drizzle_across:.3f} x {sharpness.drizzle_along:.3f}",
        f"{100 * sharpness.gain:.0f}%" if sharpness.gained else "none",
        f"{100 * (1 - after / before):.0f}%",
        f"{100 * flux:+.2f}%",
        f"{100 * of_drizzle:+.2f}%",
        f"{sharpness.noise:.1f}",
        f"{np.nanstd(pull):.3f}",
    )


def cost(folder):
    """Measure processor time and memory on the first source of a survey."""
    members = find_members(next(iter(sorted(folder.glob("*asn.json")))))
    cutouts = collect_sources(members, Selection()).sources[0].cutouts
    pattern_found = find_pattern(cutouts)
    rows = []
    for scale in (0.2, 0.1, 0.05):
        grid = make_grid([c.footprint for c in cutouts], GridOptions(scalexy=scale), False)
        options = CombineOptions()
        combine(Layout(cutouts, pattern_found, grid, options))  # compiles and warms up
        start = process_time()
        drizzled = combine(Layout(cutouts, pattern_found, grid, options))
        middle = process_time()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        invert(cutouts, grid, options, drizzled)
        end = process_time()
        more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
        n_wave, ny, nx = grid.shape
        rows.append(
            (
                f"{len(cutouts)} cutouts, {nx} x {ny} x {n_wave} voxels of {scale}\"",
                f"{middle - start:.1f} s", f"{end - middle:.1f} s",
                f"{(end - middle) / (middle - start) + 1:.1f}", f"{more / 1024:.0f} MB",
            )
        )  # fmt: skip
    head = ("", "drizzle", "inverse solution", "both / drizzle", "more memory")
    print_table("processor time", head, rows)


if __name__ == "__main__":
    main()
