"""The gnomonic projection, in arcsec about a given centre.

Formulae: Calabretta & Greisen 2002, A&A 395, 1077, section 5.1.3 (TAN).
"""

import numpy as np

__all__ = ["ARCSEC", "from_plane", "to_plane"]

ARCSEC = np.deg2rad(1 / 3600)
"""One arcsec in radians."""


def to_plane(ra, dec, ra_center, dec_center):
    """Project sky positions onto the plane that touches the sphere at a centre.

    Parameters
    ----------
    ra, dec : array_like
        Positions, degrees, of any one shape.
    ra_center, dec_center : float
        The tangent point, degrees.

    Returns
    -------
    xi, eta : numpy.ndarray
        Standard coordinates, arcsec, towards east and towards north.
    """
    dra = np.deg2rad(np.asarray(ra, float) - ra_center)
    dec, dec0 = np.deg2rad(np.asarray(dec, float)), np.deg2rad(dec_center)
    # sin(dec - dec0) and 1 - cos(dra) written so that nothing cancels close to the centre
    versine = 2 * np.sin(dra / 2) ** 2
    depth = np.cos(dec - dec0) - np.cos(dec0) * np.cos(dec) * versine
    xi = np.cos(dec) * np.sin(dra) / depth
    eta = (np.sin(dec - dec0) + np.sin(dec0) * np.cos(dec) * versine) / depth
    return xi / ARCSEC, eta / ARCSEC


def from_plane(xi, eta, ra_center, dec_center):
    """Invert `to_plane`.

    Parameters
    ----------
    xi, eta : array_like
        Standard coordinates, arcsec, towards east and towards north.
    ra_center, dec_center : float
        The tangent point, degrees.

    Returns
    -------
    ra, dec : numpy.ndarray
        Positions, degrees; right ascension in [0, 360).
    """
    xi, eta = np.asarray(xi, float) * ARCSEC, np.asarray(eta, float) * ARCSEC
    dec0 = np.deg2rad(dec_center)
    depth = np.cos(dec0) - eta * np.sin(dec0)
    dra = np.arctan2(xi, depth)
    dec = np.arctan2(np.sin(dec0) + eta * np.cos(dec0), np.hypot(xi, depth))
    return (ra_center + np.rad2deg(dra)) % 360, np.rad2deg(dec)
