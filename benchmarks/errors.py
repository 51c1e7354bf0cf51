"""Do errors describe the scatter of sums: ``python -W ignore benchmarks/errors.py``.

Many realisations of noise on a survey of 9 steps x 7 dithers (another with --steps, --dithers) seen
through a synthetic WCS, combined in all ways; at spaxels of 0.05", 0.1", 0.2" the scatter of sums
over square apertures at all places over the error that ERR and the table CORRELATION predict.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "cube")]

from noise import Scatter, dark, with_noise  # noqa: E402
from scene import Blob, pattern, sample, survey, synthetic_template  # noqa: E402

from msa3d_steps.cube.combine import CombineOptions, combine  # noqa: E402
from msa3d_steps.cube.correlation import correlation_table  # noqa: E402
from msa3d_steps.cube.grid import GridOptions, make_grid  # noqa: E402
from msa3d_steps.cube.layout import Layout  # noqa: E402
from msa3d_steps.cube.pattern import find_pattern  # noqa: E402
from msa3d_steps.cube.sources import cutout_from_slit  # noqa: E402

SCALES = (0.05, 0.1, 0.2)
WEIGHTINGS = ("drizzle", "ivm", "median", "clipped")
SIDES, NUMBERS = (1, 3, 5, 7), (1, 10)


def main():
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--dithers", type=int, default=7)
    parser.add_argument("--realisations", type=int, default=200)
    arguments = parser.parse_args()
    template = synthetic_template()
    slits = survey(
        template, pattern(arguments.steps, arguments.dithers), [Blob(1, *template.source, 0.2)],
        sampling=sample(template.wcs, template.shape, (-2.4, 2.4)),
    )  # fmt: skip
    rng = np.random.default_rng(4)
    cutouts = dark([cutout_from_slit(s, s.meta, s.meta.filename) for s in slits], rng)
    found = find_pattern(cutouts)
    cases, seconds = {}, {}
    for scale in SCALES:
        grid = make_grid([c.footprint for c in cutouts], GridOptions(scalexy=scale), False)
        for weighting in WEIGHTINGS:
            layout = Layout(cutouts, found, grid, CombineOptions(weighting))
            combine(layout)
            start = time.process_time()
            err = combine(layout).err
            middle = time.process_time()
            table = correlation_table(layout, err)
            seconds[scale, weighting] = middle - start, time.process_time() - middle
            factors = {(side, number): factor for side, number, factor, _, _ in table}
            cases[scale, weighting] = grid, factors, Scatter(err, factors, SIDES, NUMBERS)
    for _ in range(arguments.realisations):
        noisy = with_noise(cutouts, rng)
        for (_, weighting), (grid, _, scatter) in cases.items():
            options = CombineOptions(weighting)
            scatter.add(combine(Layout(noisy, found, grid, options)).data)
    sizes = [(side, number) for number in NUMBERS for side in SIDES]
    names = [f"{side}x{side}x{number}" for side, number in sizes]
    print("scatter of sums over predicted error")
    print(f"{'spaxel':8}{'weighting':10}" + "".join(f"{name:>9}" for name in names))
    for (scale, weighting), (_, _, scatter) in cases.items():
        ratios = scatter.ratios()
        row = "".join(f"{ratios[size]:9.3f}" if size in ratios else f"{'-':>9}" for size in sizes)
        print(f"{scale:<8}{weighting:10}" + row)
    print("factors of CORRELATION, and CPU time of the cube and of the table, s")
    for (scale, weighting), (_, factors, _) in cases.items():
        row = "".join(f"{factors[size]:9.3f}" if size in factors else f"{'-':>9}" for size in sizes)
        print(
            f"{scale:<8}{weighting:10}" + row + "{:9.2f}{:7.2f}".format(*seconds[scale, weighting])
        )


if __name__ == "__main__":
    main()
