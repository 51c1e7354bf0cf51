"""The headers of a FITS file, without its data.

A calibrated exposure of 40 slitlets has some 400 extensions. Here only the few cards that are asked
for are parsed, and the sizes that all headers state are added up, which tells whether the file is
whole.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from astropy.io import fits

from msa3d_steps.errors import InputError

__all__ = ["RawHeader", "read_headers", "read_primary"]

BLOCK, CARD = 2880, 80  # bytes (FITS standard 4.0, section 3.1)
END = re.compile(rb"END {77}")
NUMBER = re.compile(rb"(?:BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *= +(-?\d+)")


@dataclass(frozen=True)
class RawHeader:
    """The header of one extension.

    Parameters
    ----------
    cards : bytes
        The header as it is in the file, up to its end.
    """

    cards: bytes

    def get(self, keyword, default=None):
        """Give the value of a keyword.

        Parameters
        ----------
        keyword : str
            The keyword.
        default : object
            What to give where it is not there or has no value.

        Returns
        -------
        str, bool, int, float or object
            The value; blanks at the end of strings are cut.
        """
        start = self._find(keyword)
        if start is None:
            return default
        stop = start + CARD
        while self.cards[stop : stop + 8] == b"CONTINUE":
            stop += CARD
        try:
            value = fits.Card.fromstring(self.cards[start:stop]).value
        except (ValueError, fits.VerifyError):
            return default
        if isinstance(value, str):
            value = value.rstrip()
        return default if value is None or isinstance(value, fits.card.Undefined) else value

    def _find(self, keyword):
        """Find where a card begins."""
        pattern = keyword.ljust(8).encode() + b"="
        start = self.cards.find(pattern)
        while start > 0 and start % CARD:
            start = self.cards.find(pattern, start + 1)
        return None if start < 0 else start

    def data_size(self):
        """Size of the data that follow, bytes, without padding (FITS standard 4.0, section 4.4)."""
        values = {}
        for start in range(0, min(len(self.cards), 40 * CARD), CARD):
            match = NUMBER.match(self.cards, start)
            if match:
                values[self.cards[start : start + 8].strip()] = int(match[1])
        n_axes = values.get(b"NAXIS", 0)
        if n_axes == 0:
            return 0
        size = 1
        for axis in range(1, n_axes + 1):
            size *= values[b"NAXIS%d" % axis]
        total = values.get(b"GCOUNT", 1) * (values.get(b"PCOUNT", 0) + size)
        return abs(values[b"BITPIX"]) // 8 * total


def read_headers(path):
    """Read all headers of a file.

    Parameters
    ----------
    path : str or pathlib.Path
        The FITS file.

    Returns
    -------
    list of RawHeader
        One for each extension, the primary one first.

    Raises
    ------
    InputError
        Where the file cannot be read, is not FITS or is cut short.
    """
    return _read(path, list)


def read_primary(path):
    """Read the first header of a file.

    Parameters
    ----------
    path : str or pathlib.Path
        The FITS file.

    Returns
    -------
    RawHeader
        The primary header.

    Raises
    ------
    InputError
        Where the file cannot be read, is not FITS, or is cut short in the beginning.
    """
    return _read(path, next)


def _read(path, take):
    """Take headers, which are read one after the other."""
    path = Path(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(9) != b"SIMPLE  =":
                raise InputError("is no FITS file; leave it out", str(path))
            return take(_walk(file, size, path))
    except FileNotFoundError as err:
        raise InputError("there is no such file; check the path", str(path)) from err
    except OSError as err:
        raise InputError(
            f"cannot be read ({err.strerror}); check its permissions", str(path)
        ) from err


def _walk(file, size, path):
    """Yield the headers of an open file one after the other."""
    place = 0
    while place < size:
        file.seek(place)
        cards = _read_cards(file)
        if cards is None:
            raise _cut_short(path)
        header = RawHeader(cards[:-CARD])
        try:
            n_bytes = header.data_size()
        except (KeyError, ValueError) as err:
            raise InputError("has a damaged header; download it again", str(path)) from err
        place = file.tell() + -(-n_bytes // BLOCK) * BLOCK
        if place > size:
            raise _cut_short(path)
        yield header


def _read_cards(file):
    """Read a header up to its end; None where the file ends before. The next byte is data."""
    cards = b""
    while True:
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            return None
        for match in END.finditer(block):
            if match.start() % CARD == 0:
                return cards + block[: match.end()]
        cards += block


def _cut_short(path):
    return InputError(
        "is cut short (its headers tell of more data than it has); download it again", str(path)
    )
