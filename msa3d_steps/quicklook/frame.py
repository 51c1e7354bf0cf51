"""The sky as the panels of a picture show it."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from msa3d_steps.cube.tangent import to_plane

__all__ = ["SkyFrame", "frame_of"]

NORTH_UP = 0.1
"""How far north may be from the upward direction, degrees, for axes of right ascension and
declination."""


@dataclass(frozen=True)
class SkyFrame:
    """Axes in arcsec from the source, and where north and east are in them.

    Attributes
    ----------
    wcs : `~astropy.wcs.WCS`
        Of the sky, two axes.
    shape : tuple of int
        Rows and columns of the cube.
    origin : tuple of float
        Where the source (else the middle of the cube) is, 0-based pixels, x and y.
    step : tuple of float
        Change of the two coordinates from one pixel to the next, arcsec, with sign.
    north, east : numpy.ndarray
        Unit vectors on the panel, to the right and up, shape ``(2,)``.
    north_up : bool
        The coordinates are offsets in right ascension (times the cosine of the declination), which
        grows to the left, and in declination. Else they are offsets along the sides of the cube,
        to the right and up.
    from_source : bool
        The origin is the source.
    """

    wcs: WCS
    shape: tuple
    origin: tuple
    step: tuple
    north: np.ndarray
    east: np.ndarray
    north_up: bool
    from_source: bool

    @property
    def extent(self):
        """Coordinates of the outer sides of the first and last column, first and last row."""
        rows, columns = self.shape
        left, bottom = self.of_pixels(-0.5, -0.5)
        right, top = self.of_pixels(columns - 0.5, rows - 0.5)
        return left, right, bottom, top

    @property
    def to_right(self):
        """Sign of the change of the first coordinate to the right of the panel."""
        return -1 if self.north_up else 1

    @property
    def labels(self):
        """Names of the axes."""
        of = "the source" if self.from_source else "the middle of the cube"
        if self.north_up:
            return f"RA offset from {of} (arcsec)", "Dec (arcsec)"
        return f"x from {of} (arcsec)", "y (arcsec)"

    def of_pixels(self, x, y):
        """Turn 0-based pixels into coordinates, arcsec."""
        return (x - self.origin[0]) * self.step[0], (y - self.origin[1]) * self.step[1]

    def of_sky(self, ra, dec):
        """Turn positions, degrees, into coordinates, arcsec."""
        return self.of_pixels(*self.wcs.wcs_world2pix(ra, dec, 0))

    def limits(self, covered, margin=0.02):
        """Give the limits of the axes about what is covered.

        Parameters
        ----------
        covered : numpy.ndarray of bool
            The spaxels to show, shape ``(ny, nx)``; all of them if it has none.
        margin : float
            On each side, as part of the longer side.

        Returns
        -------
        tuple of float
            Left, right, bottom and top of the panel, arcsec; none less than 0.4 of the other.
        """
        if not covered.any():
            covered = np.ones(self.shape, bool)
        rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
        x, y = self.of_pixels(
            np.array([columns[0] - 0.5, columns[-1] + 0.5]),
            np.array([rows[0] - 0.5, rows[-1] + 0.5]),
        )
        longest = max(abs(x[1] - x[0]), abs(y[1] - y[0]))
        half = [max(abs(a[1] - a[0]) / 2 + margin * longest, longest / 5) for a in (x, y)]
        middle = x.mean(), y.mean()
        return (
            middle[0] - self.to_right * half[0], middle[0] + self.to_right * half[0],
            middle[1] - half[1], middle[1] + half[1],
        )  # fmt: skip


def frame_of(view):
    """Make the frame of a cube.

    The sky is shown as we see it, with east to the left where north is up; a cube of the other
    parity is mirrored. North and east come from the WCS at the origin.

    Parameters
    ----------
    view : ~msa3d_steps.quicklook.view.CubeView
        The cube.

    Returns
    -------
    SkyFrame
        The frame.
    """
    rows, columns = view.data.shape[1:]
    origin, from_source = _origin(view, rows, columns)
    to_sky = _jacobian(view.wcs, origin)
    mirrored = np.linalg.det(to_sky) > 0
    right = np.array([-1.0 if mirrored else 1.0, 1.0])  # pixels to panel
    sizes = np.hypot(*to_sky)
    to_panel = np.linalg.inv(to_sky) * (right * sizes)[:, None]
    east, north = (to_panel / np.hypot(*to_panel)).T
    north_up = bool(np.degrees(np.arctan2(abs(north[0]), north[1])) < NORTH_UP)
    sign = -right[0] if north_up else right[0]
    return SkyFrame(
        wcs=view.wcs,
        shape=(rows, columns),
        origin=origin,
        step=(float(sign * sizes[0]), float(sizes[1])),
        north=north,
        east=east,
        north_up=north_up,
        from_source=from_source,
    )


def _origin(view, rows, columns):
    """Give the pixel of the source, or the middle of the cube if there is none near it."""
    middle = ((columns - 1) / 2, (rows - 1) / 2)
    if view.ra is None or view.dec is None:
        return middle, False
    x, y = (float(a) for a in view.wcs.wcs_world2pix(view.ra, view.dec, 0))
    near = abs(x - middle[0]) <= columns and abs(y - middle[1]) <= rows
    return ((x, y), True) if near else (middle, False)


def _jacobian(wcs, origin):
    """Give the change towards east and north, arcsec, for one pixel in x (first column) and y."""
    x, y = origin
    center = wcs.wcs_pix2world(x, y, 0)
    ra, dec = wcs.wcs_pix2world([x + 0.5, x - 0.5, x, x], [y, y, y + 0.5, y - 0.5], 0)
    xi, eta = to_plane(ra, dec, *(float(c) for c in center))
    return np.array([[xi[0] - xi[1], xi[2] - xi[3]], [eta[0] - eta[1], eta[2] - eta[3]]])
