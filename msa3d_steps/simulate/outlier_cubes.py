"""What cosmic rays, and the flags on them, change in a cube."""

from dataclasses import dataclass

import numpy as np

from msa3d_steps.cube.grid import GridOptions, make_grid
from msa3d_steps.simulate.scene.measure import line_window, measure_line, velocity_map
from msa3d_steps.simulate.scene.sources import SPEED_OF_LIGHT
from msa3d_steps.simulate.scene.truth import CubeGrid

__all__ = ["CubeScore", "LineScore", "grid_of", "score_cube"]

LINES = ("Hbeta", "[OIII]4959", "[OIII]5007", "Halpha")
"""Lines that are measured in cubes; others lie on the wings of these, without a continuum."""

APERTURE = 0.5
"""Distance from a galaxy within which the flux of its lines is measured, arcsec."""

LINE = 700.0
"""Velocities on either side of a line that belong to it, km/s; as in `measure_line`."""


@dataclass(frozen=True)
class LineScore:
    """What became of an emission line in a cube.

    Attributes
    ----------
    name : str
        The line.
    change : float
        Relative change of its flux within 0.5 arcsec of the source.
    error : float
        Relative error of that flux, as the voxels' ERR have it.
    worst : float
        Largest change of a spaxel of its map, in units of the error of that spaxel.
    """

    name: str
    change: float
    error: float
    worst: float


@dataclass(frozen=True)
class CubeScore:
    """How a cube differs from the one without cosmic rays and without flags.

    Attributes
    ----------
    median : float
        Median of the absolute difference over ERR, of all voxels that both cover.
    lines : tuple of LineScore
        The lines that the cube has.
    lost : int
        Voxels that are empty and were not.
    """

    median: float
    lines: tuple
    lost: int


def grid_of(source):
    """Give the voxels that the cube of a source has by default, for `measure_line`."""
    prism = source.cutouts[0].disperser.upper().startswith("PRISM")
    grid = make_grid([c.footprint for c in source.cutouts], GridOptions(), native_wave=prism)
    return CubeGrid(
        grid.ra_center, grid.dec_center, grid.position_angle, grid.scale, grid.nx, grid.ny,
        grid.centers, np.diff(grid.edges),
    )  # fmt: skip


def score_cube(galaxy, grid, clean, err, data):
    """Hold a cube against the one without cosmic rays and without flags.

    Parameters
    ----------
    galaxy : Galaxy
        The source.
    grid : CubeGrid
        The voxels of both.
    clean, err : ndarray
        The cube without and its ERR, MJy/sr, ``(n_wave, ny, nx)``.
    data : ndarray
        The cube in question.

    Returns
    -------
    CubeScore
        The differences.
    """
    both = np.isfinite(clean) & np.isfinite(data)
    median = float(np.median(np.abs(data - clean)[both] / err[both]))
    lost = int((np.isfinite(clean) & ~np.isfinite(data)).sum())
    lines = []
    for line in (line for line in galaxy.lines if line.name in LINES):
        low, high = line_window(galaxy, line)
        window = (grid.wavelengths >= low) & (grid.wavelengths <= high)
        covered = both[window].all(axis=0)
        if window.sum() < 10 or grid.wavelengths.max() < high or not covered.any():
            continue
        part = grid.window(low, high)
        arrays = (array[window].astype(float) for array in (clean, err, data))
        score = _score_line(galaxy, line, part, covered, *arrays)
        if score:
            lines.append(score)
    return CubeScore(median, tuple(lines), lost)


def _score_line(galaxy, line, grid, covered, clean, err, data):
    x, y = np.meshgrid(*grid.axes())
    across, along = grid.coordinates(galaxy, *np.zeros((2, 1)))
    inside = covered & (np.hypot(x - across, y - along) < APERTURE)
    if not inside.any():
        return None
    wanted = measure_line(galaxy, line, grid, clean, err, inside)
    found = measure_line(galaxy, line, grid, data, err, inside)
    change, _ = velocity_map(galaxy, line, grid, data - clean)
    velocity = (grid.wavelengths / galaxy.observed(line) - 1) * SPEED_OF_LIGHT
    on = np.abs(velocity) < LINE
    noise = np.sqrt(np.sum((err[on] * grid.bandpass[on][:, None, None]) ** 2, axis=0))
    return LineScore(
        line.name,
        float(found.flux / wanted.flux - 1),
        float(wanted.flux_error / wanted.flux),
        float(np.max(np.abs(change[covered] / noise[covered]))),
    )
