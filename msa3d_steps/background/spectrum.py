"""The spectrum of the sky as a table, and its files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table

from msa3d_steps.errors import InputError
from msa3d_steps.whole import replace_whole

__all__ = ["SkySpectrum", "read_spectrum", "write_spectrum"]

UNITS = {"wavelength": u.um, "brightness": u.MJy / u.sr, "uncertainty": u.MJy / u.sr}

FITS = (".fits", ".fit")

NAMES = {"surf_bright": "brightness", "sb_error": "uncertainty"}
"""Names of columns in the spectra of jwst."""


@dataclass(frozen=True)
class SkySpectrum:
    """Surface brightness of the sky; straight between the entries of the table.

    Parameters
    ----------
    wavelength : numpy.ndarray
        Shape ``(n,)``: increasing, um.
    brightness, uncertainty : numpy.ndarray
        Shape ``(n,)``: brightness and its standard deviation, MJy/sr. Those of neighbouring entries
        are correlated.
    number : numpy.ndarray or None
        Shape ``(n,)``: pixels that were used at each.
    """

    wavelength: np.ndarray
    brightness: np.ndarray
    uncertainty: np.ndarray
    number: np.ndarray | None = None

    def __call__(self, wavelength):
        """Interpolate the brightness, MJy/sr; constant beyond the ends."""
        return np.interp(wavelength, self.wavelength, self.brightness)

    def variance(self, wavelength):
        """Interpolate the variance, (MJy/sr)^2; constant beyond the ends."""
        return np.interp(wavelength, self.wavelength, self.uncertainty) ** 2


def write_spectrum(spectrum, path):
    """Write a spectrum as an ECSV table, whole or not at all.

    Parameters
    ----------
    spectrum : SkySpectrum
        The spectrum.
    path : str or pathlib.Path
        The file; one that is there is replaced.
    """
    table = Table({name: getattr(spectrum, name) for name in UNITS}, units=UNITS)
    if spectrum.number is not None:
        table["number"] = spectrum.number
    with replace_whole(path) as temporary:
        table.write(temporary, format="ascii.ecsv", overwrite=True)


def read_spectrum(path):
    """Read the spectrum of the sky.

    Parameters
    ----------
    path : str or pathlib.Path
        A table, ECSV or FITS, with columns ``wavelength`` and ``brightness`` (or ``surf_bright``)
        and perhaps ``uncertainty`` (or ``sb_error``); um and MJy/sr where it gives no units.

    Returns
    -------
    SkySpectrum
        The spectrum.

    Raises
    ------
    InputError
        If the file cannot be read or has no such columns, units or values.
    """
    path = Path(path)
    columns = _columns(path)
    values = {}
    for name, unit in UNITS.items():
        if name in columns:
            values[name] = _in_unit(columns[name], unit, name, path)
    if not {"wavelength", "brightness"} <= set(values):
        raise InputError(
            f"has the columns {', '.join(columns) or 'of no table'}; a spectrum of the sky needs "
            "'wavelength' (um) and 'brightness' (MJy/sr)", str(path)
        )  # fmt: skip
    order = np.argsort(values["wavelength"])
    lam, sky, error = (
        values.get(name, np.zeros(order.size))[order] for name in UNITS
    )  # fmt: skip
    if lam.size < 2 or not np.all(np.isfinite([lam, sky, error])) or not np.all(np.diff(lam) > 0):
        raise InputError(
            "needs two rows or more, finite values, and each wavelength once", str(path)
        )
    return SkySpectrum(lam, sky, error)


def _columns(path):
    """Read the columns of a table, by their names in small letters."""
    try:
        if path.suffix.lower() in FITS:
            with fits.open(path) as hdus:
                tables = [Table.read(h) for h in hdus if isinstance(h, fits.BinTableHDU)]
            tables = [t for t in tables if "wavelength" in map(str.lower, t.colnames)] or tables
            table = tables[0] if tables else Table()
        else:
            table = Table.read(path, format="ascii.ecsv")
    except FileNotFoundError:
        raise InputError(
            "is not there; give the file of the sky's spectrum with --spectrum", str(path)
        ) from None
    except Exception as err:  # many kinds, of astropy
        reason = str(err).strip().splitlines()[0] if str(err).strip() else type(err).__name__
        raise InputError(f"is no table in ECSV or FITS ({reason})", str(path)) from err
    return {NAMES.get(n.lower(), n.lower()): table[n] for n in table.colnames}


def _in_unit(column, unit, name, path):
    try:
        given = u.Unit(column.unit) if column.unit else unit
        values = np.ma.filled(np.ma.asarray(getattr(column, "value", column), float), np.nan)
        return np.asarray(values * given.to(unit), float).ravel()
    except (u.UnitsError, TypeError, ValueError) as err:
        raise InputError(f"the column {name} is not in {unit} ({err})", str(path)) from err
