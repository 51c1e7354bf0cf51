"""A slit-stepping pattern over a galaxy: the slits of all exposures, and what they cover."""

from dataclasses import dataclass

import numpy as np
from common import GALAXY, lay, new_figure, save
from matplotlib import colormaps
from matplotlib.patches import Polygon

from msa3d_steps.cube.combine import combine
from msa3d_steps.cube.grid import GridOptions
from msa3d_steps.cube.pattern import find_pattern

__all__ = ["Covered", "draw", "measure"]

HALPHA = 0.656461 * (1 + GALAXY["redshift"])
"""Where the line of the galaxy is, um."""


@dataclass(frozen=True)
class Covered:
    """Slits over a galaxy.

    Attributes
    ----------
    slits : numpy.ndarray
        Shape ``(n, 4, 2)``: corners of the slits, arcsec from the middle of the field (x towards
        east, y towards north).
    step : numpy.ndarray
        Shape ``(n,)``: step of each.
    line, exposures : numpy.ndarray
        Shape ``(ny, nx)``: light of the line, MJy/sr um, and number of exposures.
    half : tuple of float
        Half the width and height of the field, arcsec.
    """

    slits: np.ndarray
    step: np.ndarray
    line: np.ndarray
    exposures: np.ndarray
    half: tuple


def measure(source):
    """Lay the slits of a source on the sky, and build the cube of its line.

    Parameters
    ----------
    source : `~msa3d_steps.cube.sources.Source`
        The cutouts.

    Returns
    -------
    Covered
        Slits and maps.
    """
    cutouts = [c for c in source.cutouts if c.detector == "NRS2"]
    options = GridOptions(scalexy=0.05, wavemin=HALPHA - 0.006, wavemax=HALPHA + 0.006)
    layout = lay(cutouts, options)
    grid, voxels = layout.grid, combine(layout)
    middle = np.array([grid.nx - 1, grid.ny - 1]) / 2
    corners = []
    for cutout in cutouts:
        offset, matrix = grid.from_slit(cutout.footprint)
        spaxels = cutout.footprint.corners(offset, matrix) - middle
        corners.append(spaxels * [-grid.scale, grid.scale])
    width = np.diff(grid.edges)[:, None, None]
    continuum = np.median(voxels.data, axis=0)
    inner = np.abs(grid.centers - HALPHA) < 0.0035
    line = ((voxels.data - continuum) * width)[inner].sum(axis=0)
    half = grid.nx * grid.scale / 2, grid.ny * grid.scale / 2
    exposures = voxels.exposures[grid.n_wave // 2]
    return Covered(np.array(corners), find_pattern(cutouts).step, line, exposures, half)


def draw(measured, path):
    """Draw it: slits over the light of the line, and the number of exposures."""
    figure = new_figure(9, 4.6)
    left, right = figure.subplots(1, 2, sharex=True, sharey=True)
    width, height = measured.half
    box = {"extent": (width, -width, -height, height), "origin": "lower"}
    left.imshow(np.sqrt(measured.line.clip(min=0)), cmap="Greys", **box)
    colours = colormaps["viridis"](np.linspace(0, 0.95, measured.step.max() + 1))
    for corners, step in zip(measured.slits, measured.step, strict=True):
        left.add_patch(
            Polygon(corners, fill=False, edgecolor=colours[step], linewidth=1.2, alpha=0.9)
        )
    left.set(title="slits over Halpha; a colour for each step", ylabel="north, arcsec")
    shown = right.imshow(measured.exposures, cmap="cividis", **box)
    right.set(title="exposures that see a spaxel")
    figure.colorbar(shown, ax=right, shrink=0.85)
    for axes in (left, right):
        axes.set(xlabel="east, arcsec", xlim=(width, -width), ylim=(-height, height))
    save(figure, path)
