"""What is looked at in a cube: its strongest lines, their maps, its spectrum."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.table import Table

from msa3d_steps.cube.sources import Source
from msa3d_steps.errors import InputError
from msa3d_steps.quicklook.entry import Entry
from msa3d_steps.quicklook.lines import check_names, find_lines
from msa3d_steps.quicklook.moments import map_line
from msa3d_steps.quicklook.spectrum import aperture_of, integrate

__all__ = ["Look", "Redshifts", "check_options", "describe", "look"]


@dataclass(frozen=True)
class Look:
    """What was found in a cube.

    Attributes
    ----------
    maps : tuple of ~msa3d_steps.quicklook.moments.LineMaps
        Of its lines, the strongest first; empty where there is none.
    spectrum : ~msa3d_steps.quicklook.spectrum.ApertureSpectrum
        Of where the strongest line, or else the continuum, is bright.
    """

    maps: tuple
    spectrum: object


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
        Where a line is asked for that nobody knows or that the cube does not have.
    """
    choices = find_lines(view, redshift, tuple(lines))
    maps = tuple(map_line(view, choice, snr) for choice in choices)
    inside = aperture_of(view, maps[0] if maps else None)
    return Look(maps, integrate(view, inside))


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
        return self._all


def _read_table(path):
    """Read a table of redshifts: pairs of a source and its redshift."""
    mend = "give a number, or a table with the columns source and redshift"
    if not path.is_file():
        raise InputError(f"redshift is {path}, neither a number nor a file; {mend}")
    try:
        table = Table.read(path, format="ascii")
        return tuple(
            (str(source), float(redshift))
            for source, redshift in zip(table["source"], table["redshift"], strict=True)
            if not np.ma.is_masked(redshift)
        )
    except Exception as err:  # whatever astropy's many readers raise
        raise InputError(f"is no table of redshifts ({err}); {mend}", str(path)) from err
