"""Where the slitlets fall: on the detectors by jwst's own ``assign_wcs``, on the sky by a pointing.

The MSA stays put while the telescope steps, so that detector, wavelength and slit coordinates
are worked out once for a detector; an exposure changes the last transform of the WCS alone.
"""

import logging
from dataclasses import dataclass
from types import SimpleNamespace

import gwcs
import numpy as np
from astropy.modeling.models import Identity
from jwst.assign_wcs.assign_wcs import load_wcs
from jwst.assign_wcs.pointing import v23tosky
from jwst.assign_wcs.util import NoDataOnDetectorError
from jwst.extract_2d.extract_2d import extract2d

from msa3d_steps.simulate.scene.render import SlitOnSky, SlitPixels

__all__ = ["DetectorSlit", "Pointing", "SlitPlace", "lay_out", "offset_pointing", "pointing_at"]

log = logging.getLogger(__name__)

SLIT_Y_RANGE = (-0.55, 0.55)  # of jwst's assign_wcs: what it adds beyond an open shutter


@dataclass(frozen=True)
class Pointing:
    """Where the reference point of the aperture looks.

    Attributes
    ----------
    ra, dec : float
        Position of the reference point, deg.
    roll : float
        Position angle of the V3 axis there, deg east of north.
    v2, v3 : float
        The reference point, arcsec; that of NRS_FULL_MSA (SIAF, PRDOPSSOC-063).
    """

    ra: float
    dec: float
    roll: float
    v2: float = 378.563202
    v3: float = -428.402832

    def to_sky(self):
        """Make jwst's transform from v2, v3 (arcsec) to the sky (deg)."""
        info = SimpleNamespace(
            ra_ref=self.ra, dec_ref=self.dec, roll_ref=self.roll, v2_ref=self.v2, v3_ref=self.v3
        )
        return v23tosky(SimpleNamespace(meta=SimpleNamespace(wcsinfo=info)))


@dataclass(frozen=True)
class SlitPlace:
    """A slitlet in the telescope's field, wherever it looks.

    Attributes
    ----------
    v2, v3 : tuple of float
        Of the points ``(x_slit, y_slit)`` of (0, 0), (0, 1), (-0.5, 0) and (0.5, 0), arcsec.
    corners : tuple
        v2 and v3 of the corners of what jwst takes for the slitlet, arcsec.
    """

    v2: tuple
    v3: tuple
    corners: tuple

    def on_sky(self, to_sky):
        """Find the slitlet on the sky.

        Parameters
        ----------
        to_sky : Model
            Transform from v2, v3 (arcsec) to the sky (deg), of `Pointing.to_sky`.

        Returns
        -------
        SlitOnSky
            Its place.
        """
        ra, dec = to_sky(np.array(self.v2), np.array(self.v3))
        east = (ra - ra[0]) * np.cos(np.deg2rad(dec[0])) * 3600
        north = (dec - dec[0]) * 3600
        along = np.array([east[1], north[1]])
        unit = along / np.hypot(*along)
        width = (east[3] - east[2]) * unit[1] - (north[3] - north[2]) * unit[0]
        return SlitOnSky(float(ra[0]), float(dec[0]), tuple(map(float, along)), abs(float(width)))

    def s_region(self, to_sky):
        """Word the slitlet's corners on the sky as an STC-S polygon, as jwst does."""
        corners = np.stack(to_sky(*map(np.array, self.corners)), axis=1)
        return "POLYGON ICRS  " + " ".join(f"{ra:.9f} {dec:.9f}" for ra, dec in corners)


@dataclass(frozen=True)
class DetectorSlit:
    """A slitlet on a detector.

    Attributes
    ----------
    model : SlitModel
        What ``extract_2d`` made of an empty exposure: WCS and names, without pointing.
    pixels : SlitPixels
        Its pixels.
    place : SlitPlace
        Its place in the telescope's field.
    window : tuple of slice
        Rows and columns of the detector.
    """

    model: object
    pixels: SlitPixels
    place: SlitPlace
    window: tuple

    @property
    def name(self):
        """Name of the slitlet, its number in the metafile."""
        return self.model.name

    def wcs(self, to_sky):
        """Make the WCS of an exposure: the slitlet's own with another pointing."""
        steps = [(step.frame, step.transform) for step in self.model.meta.wcs.pipeline]
        steps[-2] = (steps[-2][0], to_sky & Identity(1))
        wcs = gwcs.WCS(steps)
        wcs.bounding_box = self.model.meta.wcs.bounding_box
        return wcs

    def wavelength_range(self):
        """Smallest and largest wavelength on the detector, um."""
        return float(np.nanmin(self.pixels.lam)), float(np.nanmax(self.pixels.lam))


def lay_out(blank, references, metafile):
    """Find the slitlets of a metafile on a detector with jwst's own code.

    Parameters
    ----------
    blank : ImageModel
        An exposure with its metadata and arrays of any content; changed in place.
    references : dict
        Reference files for ``assign_wcs`` by type.
    metafile : str or Path
        MSA metafile.

    Returns
    -------
    list of DetectorSlit
        The slitlets whose spectra fall on the detector, in jwst's order.
    """
    names = {reftype: str(path) for reftype, path in references.items()}
    names["msametafile"] = str(metafile)
    try:
        model = load_wcs(blank, dict(names), SLIT_Y_RANGE)
        cutouts = extract2d(model, reference_files={"wavelengthrange": names["wavelengthrange"]})
    except NoDataOnDetectorError:
        return []
    return [_detector_slit(slit) for slit in cutouts.slits if np.isfinite(slit.wavelength).any()]


def _detector_slit(slit):
    """Work out the pixels and the place of a slitlet."""
    shape = slit.data.shape
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    to_slit = slit.meta.wcs.get_transform("detector", "slit_frame")
    _, y_slit, lam = to_slit(x, y)
    lam = lam * 1e6
    lam[~np.isfinite(y_slit)] = np.nan
    bandpass = _central_difference(lam, 1)
    height = float(np.nanmedian(np.abs(_central_difference(y_slit, 0))))
    window = (
        slice(slit.ystart - 1, slit.ystart - 1 + shape[0]),
        slice(slit.xstart - 1, slit.xstart - 1 + shape[1]),
    )
    pixels = SlitPixels(lam, y_slit, np.abs(bandpass), height)
    return DetectorSlit(slit, pixels, _slit_place(slit), window)


def _central_difference(values, axis):
    """Half the difference of both neighbours; one-sided at the border of what is finite."""
    low = np.roll(values, 1, axis)
    high = np.roll(values, -1, axis)
    first, last = [slice(None)] * 2, [slice(None)] * 2
    first[axis], last[axis] = 0, -1
    low[tuple(first)] = np.nan
    high[tuple(last)] = np.nan
    central, backward, forward = 0.5 * (high - low), values - low, high - values
    result = np.where(
        np.isfinite(central), central, np.where(np.isfinite(backward), backward, forward)
    )
    return np.where(np.isfinite(values), result, np.nan)


def _slit_place(slit):
    """Find points of the slitlet in the telescope's field."""
    wcs = slit.meta.wcs
    to_field = wcs.get_transform("slit_frame", "v2v3vacorr")
    x_slit, y_slit = np.array([0, 0, -0.5, 0.5]), np.array([0, 1.0, 0, 0])
    v2, v3 = to_field(x_slit, y_slit, np.full(4, 2e-6))[:2]
    x_slit = np.array([-0.5, -0.5, 0.5, 0.5])
    y_slit = np.array([slit.slit_ymin, slit.slit_ymax, slit.slit_ymax, slit.slit_ymin], float)
    corners = to_field(x_slit, y_slit, np.full(4, 2e-6))[:2]
    as_floats = [tuple(float(v) for v in values) for values in (v2, v3, *corners)]
    return SlitPlace(as_floats[0], as_floats[1], tuple(as_floats[2:]))


def pointing_at(place, ra, dec, position_angle):
    """Point the telescope so that a slitlet's frame stands at a position and angle.

    Parameters
    ----------
    place : SlitPlace
        The slitlet.
    ra, dec : float
        Position of the origin of its frame, deg.
    position_angle : float
        Of the direction along it, deg east of north.

    Returns
    -------
    Pointing
        The pointing, right to a microarcsecond.
    """
    pointing = Pointing(ra, dec, 0.0)
    for _ in range(6):
        slit = place.on_sky(pointing.to_sky())
        angle = np.rad2deg(np.arctan2(*slit.along))
        pointing = Pointing(
            pointing.ra + (ra - slit.ra), pointing.dec + (dec - slit.dec),
            pointing.roll + (position_angle - angle),
        )  # fmt: skip
    return pointing


def offset_pointing(pointing, place, offset):
    """Move a pointing across and along a slitlet.

    Parameters
    ----------
    pointing : Pointing
        Where the telescope looks.
    place : SlitPlace
        The slitlet that gives the directions.
    offset : ndarray
        Offset across and along, arcsec, shape ``(2,)``.

    Returns
    -------
    Pointing
        The new pointing, with the same roll.
    """
    slit = place.on_sky(pointing.to_sky())
    unit_east, unit_north = np.array(slit.along) / slit.scale
    east = offset[0] * unit_north + offset[1] * unit_east
    north = -offset[0] * unit_east + offset[1] * unit_north
    return Pointing(
        float(pointing.ra + east / 3600 / np.cos(np.deg2rad(pointing.dec))),
        float(pointing.dec + north / 3600), pointing.roll, pointing.v2, pointing.v3,
    )  # fmt: skip
