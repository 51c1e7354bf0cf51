"""What outliers that got through do to a cube: ``python -W ignore benchmarks/robust.py``.

A galaxy with an emission line, S/N 20 at the peak (another with --snr; --sigma for its size), 5
steps of 7 dithers. 1% of the contributions to voxels, then 1% of the detector's pixels, are off by
50 sigma; the line flux within 0.5" against the cube of the same weighting without outliers. (The
drizzle has no contributions of single cutouts: there voxels are spoilt.)
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "cube")]

from noise import with_noise  # noqa: E402
from scene import Blob, pattern, sample, survey, synthetic_template  # noqa: E402
from test_stacked import LINE, line_flux  # noqa: E402

from msa3d_steps.cube.combine import CombineOptions, combine  # noqa: E402
from msa3d_steps.cube.grid import GridOptions, make_grid  # noqa: E402
from msa3d_steps.cube.layout import Layout  # noqa: E402
from msa3d_steps.cube.pattern import find_pattern  # noqa: E402
from msa3d_steps.cube.sources import cutout_from_slit  # noqa: E402


class Spoilt(Layout):
    """A layout in which 1% of the contributions to voxels are off by 50 sigma."""

    def _dropped(self, block, size):
        rows = super()._dropped(block, size)
        hit = np.random.default_rng(block.start).random(rows.shape[1:]) < 0.01
        rows[0] += np.where(hit & (rows[1] > 0), 50 * np.sqrt(rows[2]), 0)
        return rows


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dithers", type=int, default=7)
    parser.add_argument("--snr", type=float, default=20)
    parser.add_argument("--sigma", type=float, default=0.15, help="of the line's image, arcsec")
    arguments = parser.parse_args()
    template = synthetic_template()
    blobs = (
        Blob(1.0, *template.source, 0.18, slope=0.1),
        Blob(0.05, *template.source, arguments.sigma, LINE, 0.004),
    )
    sampling = sample(template.wcs, template.shape, (-2.4, 2.4))
    slits = survey(template, pattern(5, arguments.dithers), blobs, sampling=sampling)
    bare = [cutout_from_slit(s, s.meta, s.meta.filename) for s in slits]
    peak = max(np.nanmax(c.data) for c in bare)
    floor, gain = (0.3 * peak / arguments.snr) ** 2, 0.91 * peak / arguments.snr**2
    bare = [
        replace(c, variance=(floor + gain * np.nan_to_num(c.data).clip(0)).astype(np.float32))
        for c in bare
    ]
    rng = np.random.default_rng(7)
    clean = with_noise(bare, rng)
    hit = [
        replace(c, data=c.data + 50 * np.sqrt(c.variance) * (rng.random(c.data.shape) < 0.01))
        for c in clean
    ]
    print("change of line flux (%), clean against drizzle; noise of ERR against drizzle")
    print(
        f"{'spaxel':8}{'weighting':10}{'samples':>9}{'pixels':>9}{'clean':>9}{'ERR':>8}{'taken':>9}"
    )
    found = find_pattern(clean)
    for scale in (0.05, 0.1, 0.2):
        grid = make_grid([c.footprint for c in clean], GridOptions(scalexy=scale), False)
        plain = combine(Layout(clean, found, grid, CombineOptions()))
        for weighting in ("drizzle", "median", "clipped"):
            options = CombineOptions(weighting)
            good, samples, pixels = (
                combine(kind(cutouts, found, grid, options))
                for kind, cutouts in ((Layout, clean), (Spoilt, clean), (Layout, hit))
            )
            flux = line_flux(grid, good, blobs[1])
            changes = [line_flux(grid, v, blobs[1]) / flux - 1 for v in (samples, pixels)]
            changes.append(flux / line_flux(grid, plain, blobs[1]) - 1)
            price = np.nanmedian(good.err / plain.err)
            taken = (
                ""
                if good.samples is None
                else f"{good.samples[1].sum() / good.samples[0].sum():9.5f}"
            )
            print(
                f"{scale:<8}{weighting:10}" + "".join(f"{100 * c:+9.3f}" for c in changes)
                + f"{price:8.3f}{taken}"
            )  # fmt: skip


if __name__ == "__main__":
    main()
