"""Pointing errors that no header knows: what ``register=self`` finds of them, and what it costs.

``python -W ignore benchmarks/registration.py JITTERED CLEAN`` takes two simulated surveys without
noise, which differ by ``--unknown-jitter=0.03 --unknown-step-jitter=0.02`` and whose last source is
a point; see benchmarks/README.md. Noise is added so that the brightest row of an exposure, averaged
over wavelength, has a given signal to noise in the step that sees a source best.
"""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from time import process_time

import asdf
import numpy as np
from scipy.optimize import curve_fit
from speed import print_table

from msa3d_steps.cube.build import build_cube
from msa3d_steps.cube.combine import CombineOptions
from msa3d_steps.cube.footprint import axes_of_slit
from msa3d_steps.cube.grid import GridOptions
from msa3d_steps.cube.inputs import Selection, collect_sources, find_members
from msa3d_steps.cube.registration.offsets import Move, moved_source
from msa3d_steps.cube.registration.profiles import collapse, frame_of
from msa3d_steps.cube.registration.register import RegisterOptions, register

UNMOVED = 1e-3
"""Moves along smaller than this, arcsec, are those across other slits that are slightly turned."""

SIGNALS = (20, 50)
"""Signal to noise of the brightest row."""


def main():
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("jittered", type=Path)
    parser.add_argument("clean", type=Path)
    options = parser.parse_args()
    logging.getLogger("msa3d_steps").setLevel(logging.ERROR)
    sources, clean = (read(folder) for folder in (options.jittered, options.clean))
    truth = true_offsets(options.jittered)
    natural = [signal_of(source) for source in sources]
    galaxies = range(len(sources) - 1)
    rows, widths = [], [("no jitter", *width_of(clean[-1]), "")]
    widths.append(("jitter", *width_of(sources[-1]), ""))
    widths.append(("true offsets", *width_of(truly_moved(sources[-1], truth)), ""))
    for signal in SIGNALS:
        factors = [value / signal for value in natural]
        noisy = [with_noise(s, f, i) for i, (s, f) in enumerate(zip(sources, factors, strict=True))]
        for names, chosen in (("one", [noisy[0]]), ("all", [noisy[i] for i in galaxies])):
            start = process_time()
            found = register(chosen, RegisterOptions(method="self"))
            seconds = process_time() - start
            rows.append((str(signal), names, *compare(found[0], truth), f"{seconds:.0f}"))
            if names == "all":
                moves = {
                    c.exposure: m for c, m in zip(found[0].cutouts, found[0].moves, strict=True)
                }
                fixed = [moves[c.exposure] for c in sources[-1].cutouts]
                widths.append((f"self, {signal}", *width_of(moved_source(sources[-1], fixed)), ""))
    print_table(
        "offsets against the truth, mas",
        ("S/N of a row", "sources", "across: applied", "rms", "stated", "along: applied", "rms",
         "stated", "s"),
        rows,
    )  # fmt: skip
    print_table("FWHM of the point source, mas", ("", "across", "along", ""), widths)
    start = process_time()
    build_cube(sources[0], GridOptions(), CombineOptions())
    print(f"plain drizzle of one source: {process_time() - start:.0f} s")


def read(folder):
    """Read the sources of a survey."""
    return collect_sources(find_members(next(folder.glob("*_asn.json"))), Selection()).sources


def true_offsets(folder):
    """Unknown offsets across and along by the number of the exposure, arcsec."""
    with asdf.open(folder / "truth" / "truth.asdf") as file:
        return np.array(file["unknown_offsets"])


def truly_moved(source, truth):
    """Move the exposures of a source to where they really were."""
    moves = []
    for cutout in source.cutouts:
        _, matrix = cutout.footprint.to_plane(*cutout.footprint.center)
        offset = truth[int(cutout.exposure.rsplit("_", 1)[1]) - 1]
        moves.append(Move(*map(float, offset @ axes_of_slit(matrix))))
    return moved_source(source, moves)


def signal_of(source):
    """Signal to noise of the brightest row as ERR has it, in the step that sees the source best."""
    cutouts = source.cutouts
    profiles, _ = collapse(cutouts, range(len(cutouts)), frame_of(cutouts), 1)
    best = [np.max((p.value - np.quantile(p.value, 0.2)) / np.sqrt(p.variance)) for p in profiles]
    return float(np.median(np.sort(best)[-10:]))


def with_noise(source, factor, seed):
    """Add noise of so many times ERR."""
    random = np.random.default_rng(seed)
    cutouts = []
    for cutout in source.cutouts:
        deviation = factor * np.sqrt(cutout.variance)
        data = cutout.data + deviation * random.standard_normal(cutout.data.shape)
        cutouts.append(
            replace(
                cutout, data=data.astype(np.float32), variance=deviation.astype(np.float32) ** 2
            )
        )
    return replace(source, cutouts=cutouts)


def compare(source, truth):
    """Count the exposures moved; rms of their error and the error stated; across and along."""
    number = np.array([int(c.exposure.rsplit("_", 1)[1]) - 1 for c in source.cutouts])
    moves = np.array(
        [m.along_axes(c.footprint) for m, c in zip(source.moves, source.cutouts, strict=True)]
    )
    errors = np.array([(m.across_err, m.along_err) for m in source.moves])
    row = []
    for k in range(2):
        known = np.abs(moves[:, k]) > UNMOVED
        if not known.any():
            row += ["0", "", ""]
            continue
        weight = 1 / errors[known, k] ** 2
        off = moves[known, k] - truth[number[known], k]
        off -= np.average(off, weights=weight)
        stated = np.sqrt(np.mean(errors[known, k] ** 2))
        row += [
            f"{np.unique(number[known]).size} of {np.unique(number).size}",
            f"{1e3 * np.sqrt(np.mean(off**2)):.1f}", f"{1e3 * stated:.1f}",
        ]  # fmt: skip
    return row


def width_of(source):
    """FWHM of a point source across and along the slits in its cube, mas."""
    grid = GridOptions(coord_system="msaalign", scalexy=0.05)
    cube = build_cube(source, grid, CombineOptions())
    image = np.nan_to_num(cube.data).mean(axis=0)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] * 0.05
    top = np.unravel_index(image.argmax(), image.shape)
    near = np.hypot(x - x[top], y - y[top]) < 0.4

    def shape(at, peak, x0, y0, width, height, sky):
        x, y = at
        return sky + peak * np.exp(-0.5 * (((x - x0) / width) ** 2 + ((y - y0) / height) ** 2))

    start = (image.max(), x[top], y[top], 0.08, 0.06, 0.0)
    found, _ = curve_fit(shape, (x[near], y[near]), image[near], start)
    return tuple(f"{2354.8 * abs(width):.1f}" for width in found[3:5])


if __name__ == "__main__":
    main()
