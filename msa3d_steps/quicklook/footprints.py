"""Where the slits of a cube were on the sky."""

import numpy as np

from msa3d_steps.cube.tangent import from_plane

__all__ = ["corners_on_sky", "strong_dither", "unique_slits"]

SAME = 0.002
"""Slits that are closer than this are drawn once (those of two detectors, say), arcsec."""


def corners_on_sky(slits):
    """Give the corners of the lit parts of slits.

    Parameters
    ----------
    slits : ~msa3d_steps.quicklook.view.SlitPlaces
        Middles, sizes and position angles.

    Returns
    -------
    ra, dec : numpy.ndarray
        Corners, one after the other around the rectangle, degrees, shape ``(n, 4)``.
    """
    angle = np.deg2rad(slits.position_angle)[:, None]
    across = slits.width[:, None] / 2 * np.array([-1, 1, 1, -1])
    along = slits.length[:, None] / 2 * np.array([-1, -1, 1, 1])
    # along the slit points to (east, north) = (sin, cos) of its position angle
    xi = along * np.sin(angle) + across * np.cos(angle)
    eta = along * np.cos(angle) - across * np.sin(angle)
    corners = [
        from_plane(*plane, *center)
        for *plane, center in zip(xi, eta, zip(slits.ra, slits.dec, strict=True), strict=True)
    ]
    return tuple(np.array([c[axis] for c in corners]).reshape(-1, 4) for axis in (0, 1))


def unique_slits(slits):
    """Pick one of those slits that lie at the same place, as those of the two detectors do.

    Parameters
    ----------
    slits : ~msa3d_steps.quicklook.view.SlitPlaces
        The slits.

    Returns
    -------
    numpy.ndarray of int
        Indices, in the order of steps and dithers.
    """
    place = np.stack([
        slits.ra * np.cos(np.deg2rad(np.median(slits.dec))) * 3600, slits.dec * 3600, slits.length,
    ])  # fmt: skip
    same = np.abs(place[:, :, None] - place[:, None]).max(axis=0) < SAME
    first = np.unique(same.argmax(axis=1))  # the first of those at each place
    return first[np.lexsort((slits.dither[first], slits.step[first]))]


def strong_dither(slits):
    """Choose the dither that is drawn strongly: the one with the most steps, the middle of such.

    Parameters
    ----------
    slits : ~msa3d_steps.quicklook.view.SlitPlaces
        The slits.

    Returns
    -------
    int
        Its number, 0-based.
    """
    numbers = np.unique(slits.dither)
    steps = np.array([np.unique(slits.step[slits.dither == n]).size for n in numbers])
    best = numbers[steps == steps.max()]
    return int(best[(best.size - 1) // 2])
