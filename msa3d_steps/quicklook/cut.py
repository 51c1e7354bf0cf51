"""Position-velocity cuts."""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label, map_coordinates

__all__ = [
    "Cut",
    "cut_cube",
    "kinematic_axis",
    "light_center",
    "main_body",
    "major_axis_cut",
    "slit_cut",
]

LEAST_SPAXELS = 8
"""Number of spaxels with a velocity below which no gradient is looked for."""

SIGNIFICANT = 5.0
"""Gradient over its error from which on its direction is used."""

FLOOR = 10.0
"""Added in quadrature to the errors of velocities, km/s: rotation is not a plane, and a few bright
spaxels would decide alone."""


@dataclass(frozen=True)
class Cut:
    """A line over the field, along which the cube is averaged over a narrow strip.

    Attributes
    ----------
    center : tuple of float
        Position zero, 0-based pixels, x and y.
    direction : tuple of float
        Towards positive positions, a unit vector, pixels.
    kinematic : bool
        It is the major axis of the velocities, and the receding side is positive; else it follows
        the slits.
    """

    center: tuple
    direction: tuple
    kinematic: bool

    def pixels(self, offsets):
        """Give pixels, x and y, at offsets in pixels."""
        return tuple(
            c + d * np.asarray(offsets) for c, d in zip(self.center, self.direction, strict=True)
        )


def main_body(maps):
    """Choose the spaxels with velocities that hang together and have the most light.

    Single spaxels elsewhere, which noise has lifted over the limit, are not among them.

    Parameters
    ----------
    maps : LineMaps
        The maps of a line.

    Returns
    -------
    numpy.ndarray of bool
        Shape ``(ny, nx)``.
    """
    good = np.isfinite(maps.velocity) & np.isfinite(maps.velocity_err)
    regions, number = label(good, np.ones((3, 3)))
    if not number:
        return good
    light = np.bincount(regions.ravel(), np.nan_to_num(maps.flux).ravel(), number + 1)
    return regions == 1 + np.argmax(light[1:])


def kinematic_axis(maps):
    """Find the direction in which the velocities rise.

    A plane is fitted to the velocities by least squares with their inverse variances; its gradient
    is along the kinematic major axis of a rotating disc, whose velocities are odd about the minor
    one.

    Parameters
    ----------
    maps : LineMaps
        The maps of a line.

    Returns
    -------
    tuple of float or None
        Unit vector, x and y, towards receding velocities; None if there is no gradient of at least
        `SIGNIFICANT` times its error.
    """
    good = main_body(maps)
    if good.sum() < LEAST_SPAXELS:
        return None
    y, x = np.nonzero(good)
    sigma = np.hypot(maps.velocity_err[good], FLOOR)
    design = np.stack([np.ones(x.size), x - x.mean(), y - y.mean()], axis=1) / sigma[:, None]
    normal = design.T @ design
    if np.linalg.cond(normal) > 1e10:  # the spaxels lie in one line
        return None
    plane = np.linalg.solve(normal, design.T @ (maps.velocity[good] / sigma))
    residual = maps.velocity[good] / sigma - design @ plane
    scatter = max(float(residual @ residual) / (x.size - 3), 1.0)
    gradient, covariance = plane[1:], np.linalg.inv(normal)[1:, 1:] * scatter
    if gradient @ np.linalg.solve(covariance, gradient) < SIGNIFICANT**2:
        return None
    return tuple(float(g) for g in gradient / np.hypot(*gradient))


def major_axis_cut(maps):
    """Lay a cut along the kinematic major axis, through the middle of the line's light.

    Parameters
    ----------
    maps : LineMaps
        The maps of a line.

    Returns
    -------
    Cut or None
        The cut; None where no axis is found.
    """
    direction, center = kinematic_axis(maps), light_center(maps)
    if direction is None or center is None:
        return None
    return Cut(center, direction, kinematic=True)


def light_center(maps):
    """Give the mean position of the line's light where it has velocities, pixels; None without."""
    light = np.where(main_body(maps), np.nan_to_num(maps.flux), 0).clip(0)
    if not light.sum() > 0:
        return None
    y, x = np.indices(light.shape)
    return float((x * light).sum() / light.sum()), float((y * light).sum() / light.sum())


def slit_cut(frame, slits, center=None):
    """Lay a cut along the slits, or along the cube's y axis where they are not known.

    Parameters
    ----------
    frame : ~msa3d_steps.quicklook.frame.SkyFrame
        The sky of the cube.
    slits : ~msa3d_steps.quicklook.view.SlitPlaces or None
        Where the slits were.
    center : tuple of float, optional
        Position zero, pixels; by default the origin of the frame. The middle of the cube takes
        its place where it is outside of the cube.

    Returns
    -------
    Cut
        The cut.
    """
    center = _in_field(frame.origin if center is None else center, frame.shape)
    if slits is None or not slits.position_angle.size:
        return Cut(center, (0.0, 1.0), kinematic=False)
    angle = np.deg2rad(slits.position_angle)
    angle = np.arctan2(np.median(np.sin(angle)), np.median(np.cos(angle)))
    panel = np.cos(angle) * frame.north + np.sin(angle) * frame.east
    x = panel[0] * np.sign(frame.step[0]) * frame.to_right
    norm = np.hypot(x, panel[1])
    return Cut(center, (float(x / norm), float(panel[1] / norm)), kinematic=False)


def _in_field(center, shape):
    """Give a place, pixels, x and y, if it is in the field, else the middle of that."""
    sides = shape[::-1]
    inside = all(-0.5 <= c <= n - 0.5 for c, n in zip(center, sides, strict=True))
    return center if inside else tuple((n - 1) / 2 for n in sides)


def cut_cube(data, cut, width=3):
    """Average the cube over a strip along a cut.

    Parameters
    ----------
    data : numpy.ndarray
        Channels to cut, shape ``(n, ny, nx)``; NaN without coverage.
    cut : Cut
        Where.
    width : int
        Number of lines, one pixel apart, that are averaged.

    Returns
    -------
    offsets : numpy.ndarray
        Positions along the cut, pixels, one apart, shape ``(n_offsets,)``.
    values : numpy.ndarray
        Averages by linear interpolation, shape ``(n, n_offsets)``; NaN where less than half of the
        strip is covered.
    """
    offsets = _inside(cut, data.shape[1:])
    lines = np.arange(width) - (width - 1) / 2
    normal = -cut.direction[1], cut.direction[0]
    x, y = (
        along[None, :] + n * lines[:, None]
        for along, n in zip(cut.pixels(offsets), normal, strict=True)
    )
    good = np.isfinite(data)
    filled = np.where(good, data, 0).astype(np.float32)
    place = np.stack([y, x])
    total, weight = (
        np.array([map_coordinates(c, place, order=1, cval=0).sum(axis=0) for c in cube])
        for cube in (filled, good.astype(np.float32))
    )
    covered = weight >= width / 2
    values = np.divide(total, weight, out=np.full_like(total, np.nan), where=covered)
    return offsets, values.reshape(len(data), offsets.size)


def _inside(cut, shape):
    """Give the whole offsets, pixels, at which a cut is inside the field."""
    reach = int(np.hypot(*shape)) + 1 + int(max(abs(c) for c in cut.center))
    offsets = np.arange(-reach, reach + 1)
    x, y = cut.pixels(offsets)
    inside = (x >= -0.5) & (x <= shape[1] - 0.5) & (y >= -0.5) & (y <= shape[0] - 0.5)
    return offsets[inside]
