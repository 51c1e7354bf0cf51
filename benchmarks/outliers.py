"""How well outliers are found: two simulated surveys that differ in the cosmic rays alone.

``python -W ignore benchmarks/outliers.py CLEAN HITS`` measures a method on every source. Make the
surveys with ``msa3d_simulate CLEAN --steps=3 --dithers=7 --dither=0.075`` and the same with
``HITS`` and ``--cosmic-rays``: their noise is the same. The numbers are defined in
`msa3d_steps.simulate.outliers` and `outlier_cubes`.
"""

import argparse
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from time import process_time

import numpy as np
from astroscrappy import detect_cosmics
from speed import print_table

from msa3d_steps.cube.build import build_cube
from msa3d_steps.cube.combine import CombineOptions
from msa3d_steps.cube.grid import GridOptions
from msa3d_steps.cube.inputs import Selection, collect_sources, find_members
from msa3d_steps.outlier.lacosmic import LacosmicOptions, find_outliers_alone
from msa3d_steps.simulate.outlier_cubes import grid_of, score_cube
from msa3d_steps.simulate.outliers import (
    know_pixels,
    middle_dithers,
    read_noise_free,
    score_flags,
    with_flags,
)
from msa3d_steps.simulate.record import read_truth

BLOCK = 100
"""Columns of a block of the published recipe."""


def no_outliers(source):
    """Flag nothing."""
    return [np.zeros(c.data.shape, bool) for c in source.cutouts]


def stack(source):
    """Compare the exposures of a source with each other."""
    from msa3d_steps.outlier.stack import StackOptions, find_outliers

    return find_outliers(source, StackOptions()).masks


def lacosmic(source):
    """L.A.Cosmic as it should be run."""
    return [find_outliers_alone(c, LacosmicOptions()) for c in source.cutouts]


def published(source):
    """L.A.Cosmic with the published settings, without blocks."""
    return [find_outliers_alone(c, LacosmicOptions.published()) for c in source.cutouts]


def blocks(source):
    """L.A.Cosmic with the published settings, blocks and columns left out."""
    return [_in_blocks(c)[0] for c in source.cutouts]


def replaced(source, _):
    """Put the values that astroscrappy gives in place of the data, as the published recipe does."""
    cutouts = [replace(c, data=_in_blocks(c)[1]) for c in source.cutouts]
    return replace(source, cutouts=cutouts)


def _in_blocks(cutout):
    """Work block by block on the transposed image; the last full block is left out as well."""
    used = np.isfinite(cutout.data)
    image = np.where(used, cutout.data, 0).T
    mask, cleaned = np.zeros(image.shape, bool), image.copy()
    for start in range(0, (image.shape[0] // BLOCK - 1) * BLOCK, BLOCK):
        rows = slice(start, start + BLOCK)
        block = np.ascontiguousarray(image[rows])
        mask[rows], cleaned[rows] = detect_cosmics(block, sigclip=0.6, sigfrac=0.001, niter=3)
    return mask.T & used, np.where(used, cleaned.T, np.float32(np.nan))


METHODS = {
    "none": no_outliers,
    "stack": stack,
    "lacosmic": lacosmic,
    "published": published,
    "blocks": blocks,
    "replaced": blocks,
}

MENDS = {"replaced": replaced}
"""What is done about outliers, where it is not to leave them out."""

HEADER = (
    "", "source", ">10 sigma", ">5 sigma", "false", "alone", "no rays", "at lines", "no rays",
    "flux", "no rays", "|off|/ERR", "worst", "s", "/cube",
)  # fmt: skip
"""Hit pixels that are flagged, above 10 and 5 sigma; clean pixels that are flagged, those with no
hit beside them, those of the survey without cosmic rays; the same near lines; largest change of the
flux of a line, with and without cosmic rays; median change of a voxel in ERR; largest change of a
spaxel of a line map in its error; time, and time over that of building the cube."""

FEW_DITHERS = 3

WANTED = {
    False: (
        "wanted", "", "99%", "90%", "0.1%", "", "", "0.2%", "", "0.3%", "", "0.05", "3", "", "4",
    ),
    True: (
        "wanted", "", "97%", "80%", "0.2%", "", "", "0.4%", "", "0.3%", "", "0.05", "3", "", "4",
    ),
}  # fmt: skip
"""For many dithers and for few."""


@dataclass(frozen=True)
class Pair:
    """A source with and without cosmic rays, and what is true of it.

    Attributes
    ----------
    galaxy : Galaxy
        The truth.
    clean, hits : Source
        The two.
    known : list of KnownPixels
        Of its cutouts.
    grid : CubeGrid
        The voxels of its cubes.
    cube : MSACubeModel
        The cube without cosmic rays and flags.
    seconds : float
        Processor time that building it took.
    """

    galaxy: object
    clean: object
    hits: object
    known: list
    grid: object
    cube: object
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a method gave for a source.

    Attributes
    ----------
    flags, flags_clean : FlagScore
        Its flags on the survey with cosmic rays, and on the one without.
    cube, cube_clean : CubeScore
        The cubes of the two with its flags, against the cube without cosmic rays and flags.
    seconds, ratio : float
        Processor time it took, and that over that of building the cube.
    """

    flags: object
    flags_clean: object
    cube: object
    cube_clean: object
    seconds: float
    ratio: float


def main():
    """Measure."""
    options = parse()
    logging.disable(logging.ERROR)
    outcomes = {
        (method, pair.hits.label): measure(method, pair)
        for pair in read_pairs(options.clean, options.hits, options.sources, options.dithers)
        for method in options.method
    }
    lines = [r for (method, label), o in outcomes.items() for r in line_rows(method, label, o)]
    print_table("lines", ("", "source", "line", "S/N", "flux", "no rays", "worst"), lines)
    rows = []
    for method in options.method:
        own = {label: o for (name, label), o in outcomes.items() if name == method}
        rows += [row(method, label, [outcome]) for label, outcome in own.items()]
        rows.append(row(method, "all", list(own.values())))
    few = options.dithers is not None and options.dithers <= FEW_DITHERS
    print_table("outliers", HEADER, [*rows, WANTED[few]])


def parse():
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("clean", type=Path, help="folder of the survey without cosmic rays")
    parser.add_argument("hits", type=Path, help="folder of the survey with them")
    parser.add_argument(
        "--method", nargs="+", choices=METHODS, default=["lacosmic"], help="what to measure"
    )
    parser.add_argument("--dithers", type=int, help="only so many, the middle ones of each step")
    parser.add_argument(
        "--sources", nargs="+", default=(), help="labels or numbers; all if not given"
    )
    return parser.parse_args()


def read_pairs(clean, hits, names=(), dithers=None):
    """Read the sources of two surveys and make the cubes that others are held against.

    Yields
    ------
    Pair
        One for each source.
    """
    truth = read_truth(hits)
    found = [
        collect_sources(find_members(next(folder.glob("*_asn.json"))), Selection(tuple(names)))
        for folder in (clean, hits)
    ]
    for without, source in zip(*(collection.sources for collection in found), strict=True):
        if dithers:
            without, source = (middle_dithers(s, dithers) for s in (without, source))
        galaxy = truth.source(source.source_id)
        known = [
            know_pixels(c, h, galaxy, *read_noise_free(hits, h))
            for c, h in zip(without.cutouts, source.cutouts, strict=True)
        ]
        build(without)  # compiles
        start = process_time()
        cube = build(without)
        seconds = process_time() - start
        yield Pair(galaxy, without, source, known, grid_of(source), cube, seconds)


def build(source):
    """Build a cube with the defaults."""
    return build_cube(source, GridOptions(), CombineOptions())


def measure(name, pair):
    """Measure a method on a source."""
    method, mend = METHODS[name], MENDS.get(name, with_flags)
    start = process_time()
    masks = method(pair.hits)
    seconds = process_time() - start
    masks_clean = method(pair.clean)
    return Outcome(
        score_flags(pair.known, masks),
        score_flags([k.without_hits() for k in pair.known], masks_clean),
        hold_against(pair, mend(pair.hits, masks)),
        hold_against(pair, mend(pair.clean, masks_clean)),
        seconds,
        seconds / pair.seconds,
    )


def hold_against(pair, source):
    """Build the cube of flagged cutouts and compare it."""
    data = np.asarray(build(source).data)
    return score_cube(pair.galaxy, pair.grid, pair.cube.data, pair.cube.err, data)


def row(method, label, outcomes):
    """Word the outcomes of a method; those of several sources taken together, or the worst."""
    flags, clean = (
        sum(scores[1:], scores[0])
        for scores in ([o.flags for o in outcomes], [o.flags_clean for o in outcomes])
    )
    return (
        method, label,
        f"{100 * flags.found_above_10:.2f}%", f"{100 * flags.found_above_5:.2f}%",
        f"{100 * flags.false:.4f}%", f"{100 * flags.false_alone:.4f}%",
        f"{100 * clean.false:.4f}%",
        f"{100 * flags.false_near_lines:.3f}%", f"{100 * clean.false_near_lines:.3f}%",
        f"{100 * largest(o.cube for o in outcomes):+.2f}%",
        f"{100 * largest(o.cube_clean for o in outcomes):+.2f}%",
        f"{max(o.cube.median for o in outcomes):.4f}",
        f"{max(line.worst for o in outcomes for line in o.cube.lines):.2f}",
        f"{np.mean([o.seconds for o in outcomes]):.1f}",
        f"{np.mean([o.ratio for o in outcomes]):.2f}",
    )  # fmt: skip


def largest(cubes):
    """Largest relative change of the flux of a line."""
    return max((line.change for cube in cubes for line in cube.lines), key=abs)


def line_rows(method, label, outcome):
    """Word what became of each line."""
    return [
        (method, label, line.name, f"{1 / line.error:.0f}", f"{100 * line.change:+.3f}%",
         f"{100 * other.change:+.3f}%", f"{line.worst:.2f}")
        for line, other in zip(outcome.cube.lines, outcome.cube_clean.lines, strict=True)
    ]  # fmt: skip


if __name__ == "__main__":
    main()
