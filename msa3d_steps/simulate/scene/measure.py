"""What a cube shows of a galaxy: flux, centroid and rotation, measured alike in data and truth."""

from dataclasses import dataclass

import numpy as np

from msa3d_steps.simulate.scene.sources import SPEED_OF_LIGHT

__all__ = ["Measured", "drizzled", "line_window", "measure_line", "velocity_map"]

WINDOW = 1500.0  # km/s on either side of a line that are looked at
LINE = 700.0  # km/s on either side of a line that belong to it
ARM = 0.35  # arcsec from the centre to where the rotation is measured
RADIUS = 0.25  # arcsec, of the two apertures there
DRIZZLED = np.array([1, 10, 1]) / 12  # of what is a channel below, in it, and above


@dataclass(frozen=True)
class Measured:
    """What a line shows.

    Attributes
    ----------
    flux : float
        Sum over field and line, MJy/sr arcsec2 um.
    flux_error : float
        Its error, without correlations; NaN where no errors are given.
    east, north : float
        Centroid relative to the source's position, arcsec.
    rotation : float
        Half the difference of the mean velocities of two apertures on the major axis, km/s.
    """

    flux: float
    flux_error: float
    east: float
    north: float
    rotation: float


def line_window(source, line):
    """Give the wavelengths (um) about a line of a source that are looked at."""
    centre = source.observed(line)
    return centre * (1 - WINDOW / SPEED_OF_LIGHT), centre * (1 + WINDOW / SPEED_OF_LIGHT)


def measure_line(source, line, grid, cube, err=None, inside=None):
    """Measure an emission line of a source in a cube.

    The continuum beside the line is subtracted spaxel by spaxel (a straight line); a spaxel in
    which a channel beside the line is missing does not count.

    Parameters
    ----------
    source : Galaxy
        Where, and along which axis.
    line : Line
        Which line.
    grid : CubeGrid
        The cube's voxels in the window of the line (`line_window`).
    cube : ndarray
        Surface brightness, MJy/sr, NaN without coverage, shape ``(n_wave, ny, nx)``.
    err : ndarray or None
        Its errors.
    inside : ndarray or None
        Spaxels that count, bool, shape ``(ny, nx)``; all if not given.

    Returns
    -------
    Measured
        What it shows.
    """
    velocity = _velocity(source, line, grid)
    on = np.abs(velocity) < LINE
    signal = _without_continuum(cube, velocity, on)
    width = grid.bandpass[on][:, None, None] * grid.scale**2
    image = np.nansum(signal[on] * width, axis=0)
    east, north = _offsets(source, grid)
    if inside is not None:
        image = np.where(inside, image, 0.0)
    flux = image.sum()
    error = np.nan
    if err is not None:
        counted = np.isfinite(err[on]) & (image != 0)
        error = float(np.sqrt(np.sum(np.where(counted, err[on] * width, 0.0) ** 2)))
    angle = np.deg2rad(getattr(source, "position_angle", 0.0))
    arms = []
    for side in (1, -1):
        distance = np.hypot(east - side * ARM * np.sin(angle), north - side * ARM * np.cos(angle))
        arm = (distance < RADIUS) if inside is None else (distance < RADIUS) & inside
        spectrum = np.nansum(signal[on][:, arm], axis=1)
        arms.append(_ratio((spectrum * velocity[on]).sum(), spectrum.sum()))
    return Measured(
        float(flux), error, _ratio((image * east).sum(), flux), _ratio((image * north).sum(), flux),
        (arms[0] - arms[1]) / 2,
    )  # fmt: skip


def velocity_map(source, line, grid, cube):
    """First moment of a line in each spaxel.

    Parameters
    ----------
    source, line, grid, cube
        As in `measure_line`.

    Returns
    -------
    flux, velocity : ndarray
        Flux, MJy/sr um, and mean velocity, km/s, shape ``(ny, nx)``.
    """
    velocity = _velocity(source, line, grid)
    on = np.abs(velocity) < LINE
    signal = _without_continuum(cube, velocity, on)[on]
    flux = np.nansum(signal * grid.bandpass[on][:, None, None], axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(signal * velocity[on][:, None, None], axis=0) / np.nansum(signal, axis=0)
    return flux, mean


def drizzled(cube):
    """Widen a cube along wavelength as drizzling does.

    A pixel is dropped onto channels of its own size, wherever it is. Its distance from the middle
    of a channel, weighted by what falls into that, is distributed as a triangle, whose variance of
    a sixth of a channel squared the three weights have.

    Parameters
    ----------
    cube : ndarray
        What a perfect cube has, shape ``(n_wave, ny, nx)``.

    Returns
    -------
    ndarray
        The same, wider.
    """
    return sum(w * np.roll(cube, i, axis=0) for i, w in zip((-1, 0, 1), DRIZZLED, strict=True))


def _ratio(numerator, denominator):
    """Divide; NaN without light."""
    return float(numerator / denominator) if denominator else np.nan


def _velocity(source, line, grid):
    """Velocity of the channels relative to the line, km/s."""
    return (grid.wavelengths / source.observed(line) - 1) * SPEED_OF_LIGHT


def _without_continuum(cube, velocity, on):
    """Subtract a straight line through the channels beside the line."""
    off = ~on
    design = np.stack([np.ones(off.sum()), velocity[off]], axis=1)
    values = cube[off].reshape(off.sum(), -1)
    known = np.isfinite(values).all(axis=0)
    fit = np.full((2, values.shape[1]), np.nan)
    fit[:, known] = np.linalg.lstsq(design, values[:, known], rcond=None)[0]
    continuum = np.stack([np.ones(velocity.size), velocity], axis=1) @ fit
    return cube - continuum.reshape(cube.shape)


def _offsets(source, grid):
    """Offsets of the spaxels from the source, east and north, arcsec."""
    x, y = np.meshgrid(*grid.axes())
    east, north = grid.to_sky(x, y)
    origin_east, origin_north = source.offsets(grid.ra, grid.dec)
    return east + origin_east, north + origin_north
