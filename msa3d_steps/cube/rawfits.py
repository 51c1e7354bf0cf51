"""FITS files as headers and places of arrays, without the cost of an HDU object each.

A cal file has some hundred small extensions. `astropy.io.fits` makes an object of each; here the
headers stay bytes, of which a few keywords are read, and an array is read when it is asked for.
"""

import hashlib
import os
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

__all__ = ["Extension", "FitsFile", "UnusualFileError"]

BLOCK, CARD = 2880, 80
END = b"END".ljust(CARD)
STRUCTURE = frozenset(
    b"XTENSION BITPIX NAXIS NAXIS1 NAXIS2 NAXIS3 NAXIS4 PCOUNT GCOUNT EXTNAME EXTVER BSCALE BZERO "
    b"BLANK DATAMODL".split()
)
KINDS = {(-32, 0): ">f4", (-64, 0): ">f8", (32, 1 << 31): ">u4"}
"""Types of arrays that are read here, by BITPIX and BZERO."""


class UnusualFileError(Exception):
    """A file that is not as the pipeline writes it; only the pipeline's own reader will do."""


@dataclass(frozen=True)
class Extension:
    """One header-data unit.

    Parameters
    ----------
    header : bytes
        Its header, blocks of 2880 bytes.
    structure : dict
        The values, as text, of the keywords that tell its structure.
    offset : int
        Where its data begin in the file.
    """

    header: bytes
    structure: dict
    offset: int

    @property
    def key(self):
        """Name and version."""
        return self.structure.get("EXTNAME", "").upper(), int(self.structure.get("EXTVER", 1))

    @property
    def is_table(self):
        """Whether it is a binary table."""
        return self.structure.get("XTENSION") == "BINTABLE"

    @property
    def shape(self):
        """Shape of its data."""
        axes = range(int(self.structure["NAXIS"]), 0, -1)
        return tuple(int(self.structure[f"NAXIS{axis}"]) for axis in axes)

    @property
    def size(self):
        """Number of bytes of its data, without the padding."""
        if not self.shape:
            return 0
        groups, extra = (int(self.structure.get(k, d)) for k, d in (("GCOUNT", 1), ("PCOUNT", 0)))
        return abs(int(self.structure["BITPIX"])) // 8 * groups * (prod(self.shape) + extra)


class FitsFile:
    """A FITS file, open for reading.

    Parameters
    ----------
    path : str or pathlib.Path
        Its path.

    Raises
    ------
    UnusualFileError
        Where it is no plain FITS file, is compressed or truncated, or two units share a name.
    """

    def __init__(self, path):
        self._file = Path(path).open("rb")
        try:
            self.units = list(self._units())
        except BaseException:
            self.close()
            raise
        self.by_key = {unit.key: unit for unit in self.units[1:]}
        if len(self.by_key) != len(self.units) - 1:
            self.close()
            raise UnusualFileError("two extensions have the same name")

    def __enter__(self):
        """Give the file itself."""
        return self

    def __exit__(self, *args):
        """Close the file."""
        self.close()

    def close(self):
        """Close the file."""
        self._file.close()

    def _units(self):
        length = os.fstat(self._file.fileno()).st_size
        position = 0
        while position < length:
            self._file.seek(position)
            header, structure = self._header()
            unit = Extension(header, structure, position + len(header))
            position = unit.offset + -(-unit.size // BLOCK) * BLOCK
            if position > length:
                raise UnusualFileError("truncated")
            yield unit

    def _header(self):
        header, structure = b"", {}
        while block := self._file.read(BLOCK):
            header += block
            if not header.startswith((b"SIMPLE  =", b"XTENSION=")) or len(block) < BLOCK:
                break
            for start in range(0, BLOCK, CARD):
                keyword = block[start : start + 8].rstrip()
                if keyword in STRUCTURE:
                    if block[start + 8 : start + 10] != b"= " or keyword.decode() in structure:
                        raise UnusualFileError(f"an unusual {keyword.decode()}")
                    structure[keyword.decode()] = _value(block[start + 10 : start + CARD])
                elif keyword == b"END" and block[start : start + CARD] == END:
                    return header, structure
        raise UnusualFileError("no FITS file")

    def hash(self):
        """Hash of all headers but that of the ASDF extension, as stdatamodels makes it."""
        headers = (unit.header for unit in self.units if unit.key[0] != "ASDF")
        return hashlib.sha256(b"".join(headers)).hexdigest()

    def bytes_of(self, unit):
        """Give the data of a unit as bytes."""
        self._file.seek(unit.offset)
        return self._file.read(unit.size)

    def array(self, name, version):
        """Read an array.

        Parameters
        ----------
        name : str
            Name of the extension.
        version : int
            Its version.

        Returns
        -------
        numpy.ndarray
            Floats, or unsigned integers for flags, in the byte order of the file.

        Raises
        ------
        UnusualFileError
            Where there is no such image, or its type is another.
        """
        unit = self.by_key.get((name.upper(), version))
        if unit is None or unit.structure.get("XTENSION") != "IMAGE":
            raise UnusualFileError(f"no image {name},{version}")
        zero = float(unit.structure.get("BZERO", 0))
        kind = KINDS.get((int(unit.structure["BITPIX"]), zero))
        if kind is None or float(unit.structure.get("BSCALE", 1)) != 1 or "BLANK" in unit.structure:
            raise UnusualFileError(f"image {name},{version} is of an unusual type")
        array = np.frombuffer(self.bytes_of(unit), kind).reshape(unit.shape)
        # unsigned integers are stored as signed ones, half of their range lower
        return array ^ np.uint32(1 << 31) if zero else array


def _value(card):
    """Value of a card, as text."""
    text = card.decode("ascii")
    if text.lstrip().startswith("'"):
        return text.split("'")[1].strip()
    return text.split("/")[0].strip()
