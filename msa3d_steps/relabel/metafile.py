"""Files: an MSA metafile in, a repaired copy out."""

import gzip
import io
import logging
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from msa3d_steps.errors import InputError, Problem
from msa3d_steps.relabel.tables import SHUTTER_COLUMNS, SOURCE_COLUMNS, repair
from msa3d_steps.whole import replace_whole

__all__ = ["Report", "is_repaired", "repair", "repair_file"]

log = logging.getLogger(__name__)

KEYWORD = "RELABEL"
"""Keyword of the primary header that tells a repaired copy."""


@dataclass(frozen=True)
class Report:
    """What was repaired in a metafile.

    Parameters
    ----------
    path : pathlib.Path
        The file to use: the repaired copy, or the file itself where nothing needed repair.
    original : pathlib.Path
        The file that was read.
    repairs : tuple of Repair
        Slitlets that were changed, or that there is something to say about.
    """

    path: Path
    original: Path
    repairs: tuple

    def of(self, metadata_id):
        """List what was done under one metadata id.

        Parameters
        ----------
        metadata_id : int
            The metadata id.

        Returns
        -------
        list of Repair
            Its slitlets.
        """
        return [done for done in self.repairs if done.metadata_id == metadata_id]

    def warnings(self, metadata_id):
        """List what a user should know.

        Parameters
        ----------
        metadata_id : int
            The metadata id.

        Returns
        -------
        list of Problem
            With names of file and slitlet.
        """
        return [
            Problem(text, self.original.name, str(done.slitlet_id))
            for done in self.of(metadata_id)
            for text in done.warnings
        ]

    def problems(self, metadata_id):
        """List the slitlets that were left out, and why.

        Parameters
        ----------
        metadata_id : int
            The metadata id.

        Returns
        -------
        list of Problem
            With names of file and slitlet.
        """
        return [
            Problem(f"is left out: {done.problem}", self.original.name, str(done.slitlet_id))
            for done in self.of(metadata_id)
            if done.problem
        ]


def repair_file(path, destination, dither_points=None):
    """Write a repaired copy of an MSA metafile.

    What is in the copy depends on the metafile and on the dither points that it lacks, and both are
    in its name; so any number of processes may make it at the same time. A file that needs no
    repair is not copied.

    Parameters
    ----------
    path : str or pathlib.Path
        The metafile; it is not changed.
    destination : str or pathlib.Path
        The copy, or a folder for it; there the copy of ``x_msa.fits`` is ``x_relabel_msa.fits``, or
        ``x_relabel-1-63_msa.fits`` where metadata id 1 had no dither points up to 63.
    dither_points : dict of {int: (int, int)}, optional
        By metadata id what an exposure needs: its dither point (``PATT_NUM``) and their number
        (``NUMDTHPT``). If the file ends before this dither point, all up to the larger of the two
        are added.

    Returns
    -------
    Report
        What was done, and the path of the file to use.

    Raises
    ------
    InputError
        If the file is no MSA metafile, does not know a metadata id of `dither_points`, or if the
        copy would replace a file that is none.
    """
    path, destination = Path(path), Path(destination)
    with _open(path) as hdus:
        tables = [
            _read_table(hdus, name, columns, path)
            for name, columns in (
                ("SHUTTER_INFO", SHUTTER_COLUMNS),
                ("SOURCE_INFO", SOURCE_COLUMNS),
            )
        ]
        more = _missing_dithers(tables[0], dither_points or {}, path)
        *repaired, repairs = repair(
            *tables, {key: range(1, last + 1) for key, last in more.items()}
        )
        if not any(done.changed or done.added or done.removed for done in repairs):
            return Report(path, path, repairs)
        if destination.is_dir():
            destination = destination / _copy_name(path.name, more)
        _check_destination(destination, path)
        content = _content(hdus, repaired, path.name, destination.name)
    if not destination.exists() or destination.read_bytes() != content:
        _write(destination, content)
        log.info("%s: repaired copy written to %s", path.name, destination)
    return Report(destination, path, repairs)


def is_repaired(path):
    """Tell whether a file is a repaired copy.

    Parameters
    ----------
    path : str or pathlib.Path
        A file.

    Returns
    -------
    bool
        Whether `repair_file` made it.
    """
    try:
        return KEYWORD in fits.getheader(path)
    except OSError:
        return False


def _open(path):
    """Open a metafile and read all of it."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", "(?s).*(truncated|corrupted)")
            return fits.open(io.BytesIO(content), memmap=False, lazy_load_hdus=False)
    except FileNotFoundError as err:
        raise InputError("is not there; download the MSA metafile from MAST", str(path)) from err
    except (OSError, EOFError, ValueError, Warning) as err:
        reason = str(err).splitlines()[0].rstrip(".")
        raise InputError(
            f"is no MSA metafile in FITS ({reason}); download it from MAST again", str(path)
        ) from err


def _read_table(hdus, name, columns, path):
    """Read a table as a plain structured array, in native types and with text as text."""
    if name not in hdus:
        raise InputError(
            f"has no extension {name}: it is no MSA metafile; give the file *_msa.fits that the "
            "keyword MSAMETFL of the exposure names",
            str(path),
        )
    data = hdus[name].data
    missing = [column for column in columns if column not in (data.names or ())]
    if missing:
        raise InputError(
            f"has no column {', '.join(missing)} in {name}; download it from MAST again", str(path)
        )
    arrays = {column: np.asarray(data[column]) for column in data.names}
    types = [(column, a.dtype.newbyteorder("="), a.shape[1:]) for column, a in arrays.items()]
    table = np.empty(len(data), types)
    for column, values in arrays.items():
        table[column] = values
    return table


def _missing_dithers(shutters, dither_points, path):
    """Find the last dither point to add, by metadata id."""
    more = {}
    for metadata_id, (index, number) in dither_points.items():
        there = shutters["dither_point_index"][shutters["msa_metadata_id"] == metadata_id]
        if not len(there):
            raise InputError(
                f"has no shutters for metadata id {metadata_id} (MSAMETID); give the metafile of "
                "this exposure with --msa_metafile",
                str(path),
            )
        if not there.min() <= index <= there.max():
            more[metadata_id] = max(index, number or 0)
    return more


def _copy_name(name, more):
    """Name the copy; a copy of a copy is named as a copy of the original."""
    stem, msa = re.fullmatch(r"(.*?)(_msa)?(?:\.fits)?(?:\.gz)?", name, re.I).groups()
    stem = re.sub(r"_relabel[-0-9]*$", "", stem)
    extended = "".join(f"-{metadata_id}-{last}" for metadata_id, last in sorted(more.items()))
    return f"{stem}_relabel{extended}{msa or ''}.fits"


def _check_destination(destination, path):
    """Make sure that no file of the user's is replaced."""
    if destination.exists() and (destination.samefile(path) or not is_repaired(destination)):
        raise InputError(
            "is in the way of the repaired MSA metafile, and was not made by msa3d_relabel; move "
            "it, or choose another folder with --output_dir",
            str(destination),
        )


def _write(destination, content):
    try:
        with replace_whole(destination) as temporary:
            temporary.write_bytes(content)
    except OSError as err:
        raise InputError(
            f"cannot be written ({err.strerror or err}); make room or choose another folder with "
            "--output_dir",
            str(destination),
        ) from err


def _content(hdus, tables, original, name):
    """Make the bytes of the copy: the same for the same file, with no dates in it."""
    copy = []
    for hdu in hdus:
        if hdu.name in ("SHUTTER_INFO", "SOURCE_INFO"):
            table = tables[0] if hdu.name == "SHUTTER_INFO" else tables[1]
            hdu = _table_hdu(hdu, table)
        for keyword in ("CHECKSUM", "DATASUM"):  # of the original
            hdu.header.remove(keyword, ignore_missing=True)
        copy.append(hdu)
    header = copy[0].header
    header["FILENAME"] = (name, "name of file")
    header.setdefault("ORIGMSA", original)
    header[KEYWORD] = (True, "source ids repaired by msa3d_relabel")
    file = io.BytesIO()
    fits.HDUList(copy).writeto(file, output_verify="silentfix")
    return file.getvalue()


def _table_hdu(hdu, table):
    """Put rows into a table, with the columns of the original."""
    columns = []
    for column in hdu.columns:
        values = table[column.name]
        kept = {"format": column.format, "bscale": column.bscale, "bzero": column.bzero}
        if values.dtype.kind == "i" and values.dtype.itemsize > hdu.data[column.name].itemsize:
            kept = {"format": {4: "J", 8: "K"}[values.dtype.itemsize]}
        layout = {"unit": column.unit, "disp": column.disp, "null": column.null}
        columns.append(fits.Column(column.name, array=values, **layout, **kept))
    return fits.BinTableHDU.from_columns(columns, header=_own_keywords(hdu.header), name=hdu.name)


def _own_keywords(header):
    """Keep what the header of a table says beside its structure."""
    structure = re.compile(r"(XTENSION|BITPIX|NAXIS\d*|PCOUNT|GCOUNT|TFIELDS|THEAP|T[A-Z]+\d+)$")
    return fits.Header([card for card in header.cards if not structure.match(card.keyword)])
