"""How right the cubes are: ``python benchmarks/accuracy.py CUTOUT.fits``.

An analytic scene (a continuum and an emission line) seen through the WCS of a real exposure,
9 steps x 7 dithers as in GO-2136, noise-free, against its truth. The scene and the measurement are
those of the tests.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
from stdatamodels.jwst import datamodels

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "cube")]

from scene import Blob, pattern, real_template, sample  # noqa: E402
from test_truth import measure, observe_twice  # noqa: E402

from msa3d_steps.cube.grid import GridOptions  # noqa: E402

BAND = (1.5, 5.2)  # um
JITTERS = (0.005, 0.01, 0.02, 0.03)  # arcsec, rms of each exposure and axis


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cutout", help="a calibrated cutout, such as those of CEERS")
    model = datamodels.open(parser.parse_args().cutout)
    template = real_template(model)
    sampling = sample(template.wcs, template.shape)
    ra, dec, _ = model.meta.wcs.get_transform("slit_frame", "world")(0.03, 0.1, 2e-6)
    blobs = (
        Blob(1.0, ra, dec, 0.18, slope=0.1),
        Blob(0.05, ra + 0.03 / 3600, dec - 0.05 / 3600, 0.15, 2.5, 0.022),
    )

    def observe(offsets):
        return observe_twice(template, sampling, blobs, offsets, BAND, prism=True)

    full = observe(pattern())
    print(f"{'case':22}{'grid':15}{'continuum':>10}{'worst':>9}{'line':>9}{'mas':>7}{'km/s':>7}")
    for system in ("skyalign", "msaalign"):
        for scale in (0.05, 0.1, 0.2):
            grid = GridOptions(coord_system=system, scalexy=scale)
            report("as commanded", grid, measure(full, grid))
            report("one dither missing", grid, measure(full, grid, change=drop_one))
            report("5% of pixels masked", grid, measure(full, grid, change=mask))
    rng = np.random.default_rng(8)
    for jitter in JITTERS:
        offsets = np.array(pattern()) + jitter * rng.standard_normal((63, 2))
        known = observe([tuple(o) for o in offsets])
        for scale in (0.05, 0.1, 0.2):
            grid = GridOptions(scalexy=scale)
            report(f"jitter of {1e3 * jitter:.0f} mas", grid, measure(known, grid))


def drop_one(cutouts):
    """Leave out the middle dither of the middle step."""
    return cutouts[:31] + cutouts[32:]


def mask(cutouts):
    """Mask 5% of the pixels at random."""
    rng = np.random.default_rng(5)
    return [
        replace(c, data=np.where(rng.random(c.data.shape) < 0.05, np.float32(np.nan), c.data))
        for c in cutouts
    ]


def report(case, grid, found):
    """Print one row: differences from the truth, percent, mas and km/s."""
    print(
        f"{case:22}{grid.coord_system:9}{grid.scalexy:<6}{100 * found.continuum:+9.3f}%"
        f"{100 * found.worst_channel:8.3f}%{100 * found.line:+8.3f}%{max(found.centroids):7.2f}"
        f"{found.velocity:+7.1f}"
    )


if __name__ == "__main__":
    main()
