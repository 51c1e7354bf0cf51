"""A cube as plain arrays: what pictures and maps are made of."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

__all__ = ["CubeView", "SlitPlaces", "view_of"]


@dataclass(frozen=True)
class SlitPlaces:
    """Where the slits of the cutouts of a cube were, an element for each cutout.

    Attributes
    ----------
    ra, dec : numpy.ndarray
        Middle of the lit part, degrees.
    width, length : numpy.ndarray
        Its size across and along the slit, arcsec.
    position_angle : numpy.ndarray
        Of the direction along the slit, degrees east of north.
    step, dither : numpy.ndarray
        0-based numbers.
    """

    ra: np.ndarray
    dec: np.ndarray
    width: np.ndarray
    length: np.ndarray
    position_angle: np.ndarray
    step: np.ndarray
    dither: np.ndarray


@dataclass(frozen=True)
class CubeView:
    """A cube of a source.

    Attributes
    ----------
    title : str
        The source, by its label in file names.
    name : str
        Name of the source in the catalogue; may be empty.
    data, err : numpy.ndarray
        Surface brightness and its standard deviation, MJy/sr, float32, shape ``(n_wave, ny, nx)``;
        NaN without coverage.
    etime : numpy.ndarray or None
        Exposure time averaged over the voxel, s, the same shape.
    wavelengths : numpy.ndarray
        Middles of the channels, um (vacuum, barycentric), shape ``(n_wave,)``.
    wcs : `~astropy.wcs.WCS`
        Of the sky, two axes.
    scale : float
        Size of a spaxel, arcsec.
    correlation : numpy.ndarray or None
        The table CORRELATION: what the error of a sum is over the sum of ERR in quadrature.
    slits : SlitPlaces or None
        Where the slits were; None for cubes of others.
    ra, dec : float or None
        Catalogue position of the source, degrees.
    grating : str
        Filter and disperser, as in ``F100LP-G140H``.
    """

    title: str
    name: str
    data: np.ndarray
    err: np.ndarray
    etime: np.ndarray | None
    wavelengths: np.ndarray
    wcs: WCS
    scale: float
    correlation: np.ndarray | None = None
    slits: SlitPlaces | None = None
    ra: float | None = None
    dec: float | None = None
    grating: str = ""

    @property
    def bandpass(self):
        """Widths of the channels, um, shape ``(n_wave,)``."""
        if self.wavelengths.size < 2:
            return np.ones(self.wavelengths.size)
        return np.gradient(self.wavelengths)


def view_of(model):
    """Take what is looked at from the model of a cube.

    Parameters
    ----------
    model : `~msa3d_steps.MSACubeModel` or `~stdatamodels.jwst.datamodels.IFUCubeModel`
        The cube.

    Returns
    -------
    CubeView
        Its arrays, which are not copied.
    """
    meta = model.meta
    own = getattr(meta, "msa3d", None)
    label = getattr(own, "source_label", None) or meta.target.catalog_name or "cube"
    filters = [meta.instrument.filter, meta.instrument.grating]
    return CubeView(
        title=label,
        name=getattr(own, "source_name", None) or "",
        data=np.asarray(model.data),
        err=np.asarray(model.err),
        etime=getattr(model, "etime", None),
        wavelengths=_wavelengths(model),
        wcs=_sky(meta.wcsinfo),
        scale=float(meta.wcsinfo.cdelt2) * 3600,
        correlation=_table(model, "correlation_table"),
        slits=_slits(_table(model, "exposure_table")),
        ra=getattr(own, "source_ra", None),
        dec=getattr(own, "source_dec", None),
        grating="-".join(f for f in filters if f),
    )


def _wavelengths(model):
    """Give the middles of the channels, um."""
    info = model.meta.wcsinfo
    if info.ctype3 == "WAVE-TAB":
        return np.asarray(model.wavetable["wavelength"], float).ravel()
    channels = np.arange(len(model.data)) + 1 - info.crpix3
    return info.crval3 + info.cdelt3 * channels


def _sky(info):
    """Make the WCS of the sky alone."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [info.ctype1, info.ctype2]
    wcs.wcs.cunit = ["deg", "deg"]
    wcs.wcs.crval = [info.crval1, info.crval2]
    wcs.wcs.crpix = [info.crpix1, info.crpix2]
    wcs.wcs.cdelt = [info.cdelt1, info.cdelt2]
    wcs.wcs.pc = [[info.pc1_1, info.pc1_2], [info.pc2_1, info.pc2_2]]
    wcs.wcs.radesys = "ICRS"
    return wcs


def _table(model, name):
    """Give a table, None where there is none."""
    table = getattr(model, name, None)
    return None if table is None or not len(table) else np.asarray(table)


def _slits(table):
    """Take the places of the slits from the table EXPOSURES; that of older cubes has none."""
    columns = ("slit_ra", "slit_dec", "slit_width", "slit_length", "position_angle")
    if table is None or not set(columns) <= set(table.dtype.names):
        return None
    return SlitPlaces(
        *(np.asarray(table[c], float) for c in columns),
        *(np.asarray(table[c], int) for c in ("step", "dither")),
    )
