"""What is looked at in a cube: its strongest lines, their maps, its spectrum."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.table import Table

from msa3d_steps.cube.sources import Source
from msa3d_steps.errors import InputError
from msa3d_steps.quicklook.entry import Entry
from msa3d_steps.quicklook.linelist import line_named
from msa3d_steps.quicklook.lines import as_wavelength, check_names, find_lines
from msa3d_steps.quicklook.moments import map_line
from msa3d_steps.quicklook.spectrum import aperture_of, integrate

__all__ = ["Look", "Redshifts", "check_options", "describe", "look"]

log = logging.getLogger(__name__)

MEND = "give a number, or a table with the columns source and redshift"

HIGHEST = 50
"""A redshift from here on is taken for a mistake."""

FAR = 0.006
"""Lines whose redshift differs more from the given one, over 1 + z, are those of another."""


@dataclass(frozen=True)
class Look:
    """What was found in a cube.

    Attributes
    ----------
    maps : tuple of ~msa3d_steps.quicklook.moments.LineMaps
        Of its lines, the strongest first; empty where there is none.
    spectrum : ~msa3d_steps.quicklook.spectrum.ApertureSpectrum
        Of where the strongest line, or else the continuum, is bright.
    warnings : tuple of str
        What was wanted and is not so.
    """

    maps: tuple
    spectrum: object
    warnings: tuple = ()


def look(view, lines=(), redshift=None, snr=3.0):
    """Find the lines of a cube and measure them.

    Parameters
    ----------
    view : ~msa3d_steps.quicklook.view.CubeView
        The cube.
    lines : sequence of str
        Names of lines, or observed wavelengths, um; those that are found if not given.
    redshift : float, optional
        Of the source.
    snr : float
        Signal over noise of the line below which a spaxel has no velocity.

    Returns
    -------
    Look
        What was found.

    Raises
    ------
    InputError
        Where a line is asked for that is not in the list.
    """
    choices = find_lines(view, redshift, tuple(lines))
    maps = sorted((map_line(view, c, snr) for c in choices), key=lambda m: -m.total_snr)
    inside = aperture_of(view, maps[0] if maps else None)
    warnings = [*_missing(view, lines, maps, redshift), *_elsewhere(redshift, maps)]
    return Look(tuple(maps), integrate(view, inside), tuple(warnings))


def _missing(view, lines, maps, redshift):
    """Say which of the lines that are wanted have no map."""
    redshift = maps[0].redshift if maps else redshift
    names = {name for found in maps for name in found.name.split("+")}
    for wanted in lines:
        wavelength = as_wavelength(wanted)
        if wavelength is None:
            there = line_named(wanted).name in names
        else:
            there = any(np.isclose(found.wavelength, wavelength, rtol=1e-6) for found in maps)
        if not there:
            low, high = view.wavelengths[[0, -1]]
            what = wanted if wavelength is None else f"{wanted} um"
            at = f"at redshift {redshift:.4f} " if redshift and wavelength is None else ""
            yield f"{what} {at}is not in the data ({low:.3f} to {high:.3f} um)"


def _elsewhere(redshift, maps):
    """Say that the redshift that was given is not that of the lines."""
    if redshift is None or not maps:
        return
    found = maps[0].redshift
    if found is None:
        yield f"no line at the given redshift {redshift:g}; {maps[0].name} found instead"
    elif abs(found - redshift) > FAR * (1 + redshift):
        yield f"no line at the given redshift {redshift:g}; {found:.4f} found instead"


def check_options(lines, redshift):
    """Make sure that lines and redshifts can be understood, before long work.

    Parameters
    ----------
    lines : sequence of str or None
        Names or observed wavelengths, um.
    redshift : str or None
        A number or a table.

    Returns
    -------
    Redshifts
        The redshifts.

    Raises
    ------
    InputError
        Where they cannot.
    """
    check_names(lines or ())
    return Redshifts(redshift)


def describe(model, view, found):
    """Say about a cube what its row on the page tells.

    Parameters
    ----------
    model : `~stdatamodels.jwst.datamodels.IFUCubeModel`
        The cube.
    view : ~msa3d_steps.quicklook.view.CubeView
        Its arrays.
    found : Look
        What was found in it.

    Returns
    -------
    Entry
        The row, without names of files.
    """
    n_wave, ny, nx = view.data.shape
    entry = Entry(
        title=view.title,
        name=view.name,
        ra=model.meta.wcsinfo.crval1 if view.ra is None else view.ra,
        dec=model.meta.wcsinfo.crval2 if view.dec is None else view.dec,
        field=(round(nx * view.scale, 3), round(ny * view.scale, 3)),
        shape=(n_wave, ny, nx),
        wavelengths=(float(view.wavelengths[0]), float(view.wavelengths[-1])),
        grating=view.grating,
        continuum_snr=_number(found.spectrum.continuum_snr),
        warnings=found.warnings,
    )
    if found.maps:
        strongest = found.maps[0]
        entry = replace(
            entry,
            line=strongest.name,
            line_wavelength=float(strongest.wavelength),
            line_snr=_number(strongest.total_snr),
            redshift=_number(strongest.redshift),
        )
    table = getattr(model, "exposure_table", None)
    if table is None or not len(table):
        return entry
    outliers = np.asarray(table["outliers"])
    return replace(
        entry,
        exposures_used=len(table),
        pixels_used=int(np.sum(table["pixels_used"])),
        pixels_rejected=int(np.sum(table["pixels_rejected"])),
        outliers=int(outliers[outliers >= 0].sum()) if (outliers >= 0).any() else -1,
        registration=_registration(model.meta.msa3d, len(table)),
    )


def _number(value):
    """Give a finite number, or None."""
    return float(value) if value is not None and np.isfinite(value) else None


def _registration(own, n_cutouts):
    """Say what was done about the pointing."""
    kinds = [own.register] if own.register and own.register != "none" else []
    kinds += ["file"] if own.offset_file else []
    if not kinds:
        return "as pointed"
    return f"{' and '.join(kinds)}: {own.n_moved or 0} of {n_cutouts} moved"


class Redshifts:
    """The redshifts of sources, as far as they are known.

    Parameters
    ----------
    text : str or float or None
        One for all, or the path of a table (ECSV, CSV and the like) with the columns ``source`` (label,
        number or name) and ``redshift``.

    Raises
    ------
    InputError
        Where it is neither.
    """  # noqa: E501

    def __init__(self, text):
        self._all, self._table = None, ()
        if text is None:
            return
        try:
            self._all = float(text)
        except ValueError:
            self._table = _read_table(Path(text).expanduser())
        for redshift in (self._all, *(redshift for _, redshift in self._table)):
            if redshift is not None and not -1 < redshift < HIGHEST:
                raise InputError(f"redshift is {redshift:g}; {MEND}")

    def of(self, label, number, name):
        """Give the redshift of a source.

        Parameters
        ----------
        label, number, name : str, int, str
            The source.

        Returns
        -------
        float or None
            None where it is not known.
        """
        source = Source(label, number, name)
        for which, redshift in self._table:
            if source.answers_to(which):
                return redshift
        if self._table:
            log.info("%s is not in the table of redshifts; its redshift is looked for", label)
        return self._all


def _read_table(path):
    """Read a table of redshifts: pairs of a source and its redshift."""
    if not path.is_file():
        raise InputError(f"redshift is {path}, neither a number nor a file; {MEND}")
    try:
        table = Table.read(path, format="ascii")
        return tuple(
            (str(source), float(redshift))
            for source, redshift in zip(table["source"], table["redshift"], strict=True)
            if not np.ma.is_masked(redshift)
        )
    except KeyError as err:
        raise InputError(f"has no column {err}; {MEND}", str(path)) from err
    except Exception as err:  # whatever astropy's many readers raise
        raise InputError(f"is no table of redshifts ({err}); {MEND}", str(path)) from err
