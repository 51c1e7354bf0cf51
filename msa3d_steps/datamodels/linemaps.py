"""Maps of the emission lines of one source."""

from astropy.io import fits
from astropy.wcs import WCS
from stdatamodels import fits_support
from stdatamodels.jwst.datamodels import JwstDataModel

from msa3d_steps.datamodels.saving import WholeFile

__all__ = ["PLANES", "MSALineMapsModel"]

PLANES = {
    "flux": "erg s-1 cm-2 arcsec-2",
    "flux_err": "erg s-1 cm-2 arcsec-2",
    "velocity": "km/s",
    "velocity_err": "km/s",
    "dispersion": "km/s",
    "dispersion_err": "km/s",
    "continuum": "MJy/sr",
    "mask": "",
    "aperture": "",
}
"""Maps of a line and their units."""

COLUMNS = {
    "rest": "um",
    "wavelength": "um",
    "window_low": "um",
    "window_high": "um",
    "total_flux": "erg s-1 cm-2",
    "total_flux_err": "erg s-1 cm-2",
}
"""Columns of the table of lines that have a unit (TUNIT)."""

KEYWORDS = {
    "name": ("LINE", "Emission line"),
    "rest": ("RESTWAV", "[um] Vacuum wavelength at rest"),
    "wavelength": ("WAVELEN", "[um] Wavelength where the velocity is 0"),
    "redshift": ("REDSHIFT", "Redshift for which the velocity is 0"),
    "window_low": ("WINLOW", "[um] Start of the windows"),
    "window_high": ("WINHIGH", "[um] End of the windows"),
    "total_flux": ("TOTFLUX", "[erg s-1 cm-2] Flux in the aperture"),
    "total_flux_err": ("TOTFLERR", "[erg s-1 cm-2] Its standard deviation"),
}
"""What the headers of all maps of a line say of it."""


class MSALineMapsModel(WholeFile, JwstDataModel):
    """Maps of the emission lines of one source, the strongest line first.

    In files each map is an image with the celestial WCS, its unit (BUNIT) and the name,
    wavelengths, redshift and total flux of its line in its own header; the number of the line is
    the EXTVER, from 1. Files say that they hold a ``JwstDataModel``, so that stock software opens
    them.

    Attributes
    ----------
    lines : list
        Of each line `name`, `rest`, `wavelength`, `window_low`, `window_high` (um), `redshift`,
        `total_flux`, `total_flux_err` (erg s-1 cm-2), and the maps, shape ``(ny, nx)``: `flux`,
        `flux_err` (erg s-1 cm-2 arcsec-2), `velocity`, `velocity_err`, `dispersion`,
        `dispersion_err` (km/s), `continuum` (MJy/sr), `mask`, `aperture`, as
        `~msa3d_steps.quicklook.moments.LineMaps` has them.
    line_table : numpy.ndarray
        One row for each line (extension ``LINES``): the same without the maps, S/N of the total
        flux and the number of spaxels that have a velocity. NaN where `rest` or `redshift` are
        unknown.
    """

    schema_url = "asdf://msa3d-steps.org/schemas/datamodels/linemaps.schema"
    stock_name = "JwstDataModel"

    @property
    def wcs(self):
        """Celestial WCS of the maps, `~astropy.wcs.WCS`; None where there is none."""
        cards = self.meta.msa3d.wcs
        return None if cards is None else WCS(fits.Header(cards.instance.items()))

    def to_fits(self, init, *args, **kwargs):
        """Write the maps with their headers to a FITS file.

        Parameters
        ----------
        init : str
            Path of the file.
        *args, **kwargs
            Passed on to `astropy.io.fits.HDUList.writeto`.
        """
        self.on_save(init)
        cards = [] if self.wcs is None else self.wcs.to_header().cards
        file = fits.HDUList([fits.PrimaryHDU()])
        for number, line in enumerate(self.lines, 1):
            told = [
                (key, line.instance[k], c) for k, (key, c) in KEYWORDS.items() if k in line.instance
            ]
            for plane, unit in PLANES.items():
                header = fits.Header([("BUNIT", unit)] if unit else [])
                header.extend(cards)
                header.extend(told)
                file.append(fits.ImageHDU(None, header, name=plane.upper(), ver=number))
        own = {plane.upper() for plane in PLANES}
        tree = dict(self.instance)
        others = {k: v for k, v in tree.pop("extra_fits", {}).items() if k not in own}
        if others:
            tree["extra_fits"] = others
        file = fits_support.to_fits(tree, self._schema, file)
        for name, unit in COLUMNS.items() if "LINES" in file else ():
            file["LINES"].columns[name].unit = unit
        file.writeto(init, *args, **kwargs)
