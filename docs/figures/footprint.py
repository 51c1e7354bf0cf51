"""A pixel of the detector in the cube: its footprint, and its share in each voxel."""

from dataclasses import dataclass

import numpy as np
from common import BLUE, GREY, ORANGE, lay, new_figure, save
from matplotlib.patches import Polygon, Rectangle

from msa3d_steps.cube.grid import GridOptions
from msa3d_steps.cube.operator import make_strips, pixel_operator

__all__ = ["PixelInCube", "draw", "measure"]

WAVELENGTH = 1.3272
"""Of the pixel, um: that of [OIII]5007 of the galaxy."""


@dataclass(frozen=True)
class PixelInCube:
    """Where the light of a pixel comes from.

    Attributes
    ----------
    slit : numpy.ndarray
        Shape ``(4, 2)``: corners of the slit, spaxels.
    rows : numpy.ndarray
        Shape ``(n, 4, 2)``: footprints of the pixels of its column.
    pixel : int
        Which of them it is.
    wavelengths : numpy.ndarray
        Shape ``(2, n)``: blue and red end of these pixels, um.
    edges : numpy.ndarray
        Limits of the channels, um.
    shares : numpy.ndarray
        Shape ``(n_wave, ny, nx)``: part of the light of the pixel that goes into each voxel.
    """

    slit: np.ndarray
    rows: np.ndarray
    pixel: int
    wavelengths: np.ndarray
    edges: np.ndarray
    shares: np.ndarray


def measure(cutout, wavelength=WAVELENGTH):
    """Follow the pixel of a cutout in the middle of its slit into the cube.

    Parameters
    ----------
    cutout : `~msa3d_steps.cube.sources.Cutout`
        The cutout.
    wavelength : float
        About that of the pixel, um.

    Returns
    -------
    PixelInCube
        Its geometry, and its shares as the cube builder has them.
    """
    options = GridOptions(scalexy=0.1, wavemin=wavelength - 0.0012, wavemax=wavelength + 0.0012)
    layout = lay([cutout], options)
    grid, footprint = layout.grid, cutout.footprint
    (strip,) = make_strips([cutout], grid, layout.options)
    seen = pixel_operator([strip], grid.edges)
    offset, matrix = grid.from_slit(footprint)
    row = cutout.data.shape[0] // 2
    columns = np.arange(*footprint.columns, dtype=float)
    lam = footprint.wavelength(columns, np.array([float(row)]))[0]
    column = columns[np.argmin(np.abs(lam - wavelength))]
    along = footprint.along(np.array([column]), np.arange(cutout.data.shape[0] + 1) - 0.5)[:, 0]
    inside = (along > footprint.limits[0] - 0.05) & (along < footprint.limits[1] + 0.05)
    lit = np.flatnonzero(inside[:-1] & inside[1:])
    ends = footprint.wavelength(column + np.array([-0.5, 0.5]), lit.astype(float))
    boxes = np.array(
        [
            [[-0.5, along[i]], [0.5, along[i]], [0.5, along[i + 1]], [-0.5, along[i + 1]]]
            for i in lit
        ]
    )
    (place,) = np.flatnonzero((seen.y == row) & (seen.x == column))
    shares = np.zeros((grid.n_wave, grid.ny * grid.nx))
    shares[:, seen.spaxels] = seen.matrix[[place]].toarray().reshape(grid.n_wave, -1)
    pixel = int(np.searchsorted(lit, row))
    return PixelInCube(
        footprint.corners(offset, matrix), offset + boxes @ matrix.T, pixel,
        np.sort(ends.T, axis=0), grid.edges, shares.reshape(grid.shape),
    )  # fmt: skip


def draw(measured, path):
    """Draw it: the sky on the left, wavelength on the right."""
    figure = new_figure(9, 4.2)
    sky, dispersion = figure.subplots(1, 2, width_ratios=(1, 1.25))
    _draw_sky(sky, measured)
    _draw_dispersion(dispersion, measured)
    save(figure, path)


def _draw_sky(axes, measured):
    shares = measured.shares.sum(axis=0)
    axes.imshow(shares, origin="lower", cmap="Oranges", vmin=0, vmax=2 * shares.max())
    axes.add_patch(Polygon(measured.slit, fill=False, edgecolor=BLUE, linewidth=2))
    for box in measured.rows:
        axes.add_patch(Polygon(box, fill=False, edgecolor=BLUE, linewidth=0.5))
    axes.add_patch(
        Polygon(measured.rows[measured.pixel], fill=False, edgecolor=ORANGE, linewidth=2.5)
    )
    ys, xs = np.nonzero(shares > 0.005)
    for y, x in zip(ys, xs, strict=True):
        axes.text(x, y, f"{100 * shares[y, x]:.0f}%", ha="center", va="center", fontsize=8)
    x, y = measured.rows[measured.pixel].mean(axis=0)
    axes.set(
        xlim=(x - 3.5, x + 3.5), ylim=(y - 4.2, y + 4.2), xticks=[], yticks=[],
        title="on the sky", xlabel='spaxels of 0.1", north up',
    )  # fmt: skip
    axes.set_xticks(np.arange(round(x) - 4, round(x) + 5) - 0.5, minor=True)
    axes.set_yticks(np.arange(round(y) - 5, round(y) + 6) - 0.5, minor=True)
    axes.grid(which="minor", color=GREY, linewidth=0.4)
    axes.tick_params(which="minor", length=0)


def _draw_dispersion(axes, measured):
    nanometres = 1e3 * measured.edges
    rows = range(measured.pixel - 3, measured.pixel + 4)
    for row in rows:
        low, high = 1e3 * measured.wavelengths[:, row]
        chosen = row == measured.pixel
        look = {"edgecolor": ORANGE, "linewidth": 2.5} if chosen else {"edgecolor": BLUE}
        place = low, row - measured.pixel - 0.5
        axes.add_patch(
            Rectangle(place, high - low, 1, fill=chosen, facecolor="#fdd0a2", alpha=0.9, **look)
        )
    shares = measured.shares.sum(axis=(1, 2))
    for low, high, share in zip(nanometres[:-1], nanometres[1:], shares, strict=True):
        if share > 0.005:
            axes.text(0.5 * (low + high), 3.75, f"{100 * share:.0f}%", ha="center", fontsize=9)
    for edge in nanometres:
        axes.axvline(edge, color=GREY, linewidth=0.6)
    middle = 1e3 * measured.wavelengths[:, measured.pixel].mean()
    axes.set(
        xlim=(middle - 0.75, middle + 0.75), ylim=(-3.7, 4.3), title="along the dispersion",
        xlabel="wavelength, nm (lines: limits of the channels)", ylabel="row of the detector",
    )  # fmt: skip
