"""Steps and dithers from the pointings in the headers, with the algorithm of the cube builder."""

import numpy as np

from msa3d_steps.cube.pattern import groups_of_angle, sort_offsets
from msa3d_steps.cube.tangent import to_plane
from msa3d_steps.errors import InputError

__all__ = ["pattern_of_pointings"]

SLIT_WIDTH = 0.196
"""Width of an open shutter on the sky, arcsec."""

PIXEL_HEIGHT = 0.105
"""Height of a detector pixel on the sky, arcsec."""

FIELD = 20.0
"""Exposures farther than this from the middle, arcsec, are of another survey."""


def pattern_of_pointings(pointings, visits):
    """Find the pattern of exposures by their pointings.

    The cube builder does the same with where the slits were. A slit stays in its place on the MSA,
    so that both offsets are those of the telescope.

    Parameters
    ----------
    pointings : sequence of Pointing
        One for each exposure.
    visits : sequence of str
        Visit of each.

    Returns
    -------
    `~msa3d_steps.cube.pattern.Pattern`
        Step, dither and offsets (arcsec, from the median) of each exposure.

    Raises
    ------
    InputError
        Where the exposures are too far apart to be one survey.
    """
    sky = np.array([(p.ra, p.dec) for p in pointings])
    plane = np.stack(to_plane(sky[:, 0], sky[:, 1], *sky[0]), axis=1)
    distance = np.hypot(*(plane - np.median(plane, axis=0)).T)
    if not distance.max() <= FIELD:
        raise InputError(
            f"the exposures point up to {distance.max():.0f} arcsec away from their middle, and "
            f"those of one survey stay within {FIELD:.0f}; name the files of one survey"
        )
    angle = np.array([p.position_angle for p in pointings])
    turned = groups_of_angle(angle, np.arange(len(angle)))
    across, along = np.zeros(len(angle)), np.zeros(len(angle))
    for group in range(turned.max() + 1):
        members = turned == group
        direction = _mean_direction(angle[members])
        x = plane[members] @ np.array([direction[1], -direction[0]])
        y = plane[members] @ direction
        across[members], along[members] = x - np.median(x), y - np.median(y)
    n_groups = turned.max() + 1
    return sort_offsets(
        across, along, turned, np.arange(len(angle)), np.array(visits),
        [SLIT_WIDTH] * n_groups, [PIXEL_HEIGHT] * n_groups,
    )  # fmt: skip


def _mean_direction(angle):
    """Average position angles, degrees, to a unit vector (east, north)."""
    vector = np.exp(1j * np.deg2rad(angle)).mean()
    vector /= abs(vector)
    return np.array([vector.imag, vector.real])
