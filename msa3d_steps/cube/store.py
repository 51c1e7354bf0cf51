"""The cutouts of one exposure in one file, of which those of one source are read alone.

A survey is read exposure by exposure and built source by source. Where all its cutouts do not fit
into memory they wait in these files. They live as long as a run; nothing else reads them.

A file is a line that names the format, the length of an index, the index and a record for each
cutout. Index and the beginning of each record are JSON, which keeps floats to the last bit; the
arrays follow as they are in memory. Each part has a checksum.
"""

import json
import zlib
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np

from msa3d_steps.cube.footprint import Footprint
from msa3d_steps.cube.reading import Entry, add_entry
from msa3d_steps.cube.sources import Cutout, Source
from msa3d_steps.cube.surface import Dispersion, Surface
from msa3d_steps.errors import InputError
from msa3d_steps.whole import replace_whole

__all__ = ["load_cutouts", "load_entries", "save_cutouts"]

MAGIC = b"msa3d cutouts 2\n"
PREFIX = len(MAGIC) + 12  # length and checksum of the index
ALIGNMENT = 64
IDENTITY = ("label", "source_id", "name", "ra", "dec", "disperser")
CLASSES = {cls.__name__: cls for cls in (Cutout, Footprint, Surface, Dispersion)}


def save_cutouts(path, exposure):
    """Write the cutouts of an exposure.

    Parameters
    ----------
    path : str or pathlib.Path
        Where to write them; a file there is replaced.
    exposure : ~msa3d_steps.cube.reading.ExposureCutouts
        The exposure; its entries are written, and nothing else of it.
    """
    headers, records, parts, position = {}, [], [], 0
    for source, cutout, header in exposure.entries:
        record = _record(cutout)
        size, checksum = sum(map(len, record)), 0
        for part in record:
            checksum = zlib.crc32(part, checksum)
        # cutouts of an exposure share one dict of metadata
        number = headers.setdefault(id(header), (len(headers), header))[0]
        identity = {name: getattr(source, name) for name in IDENTITY}
        records.append([identity, number, position, size, checksum])
        parts += record
        position += size
    headers = [header for _, header in headers.values()]
    index = json.dumps({"headers": headers, "records": records}).encode()
    length, checksum = len(index).to_bytes(8, "little"), zlib.crc32(index).to_bytes(4, "little")
    with replace_whole(path) as temporary, temporary.open("wb") as file:
        file.writelines([MAGIC, length, checksum, index, *parts])


def load_cutouts(paths, label, disperser=None):
    """Put a source together from the files of its exposures.

    Parameters
    ----------
    paths : iterable of str or pathlib.Path
        Files of `save_cutouts`.
    label : str
        Label of the source, ``s000008512`` and so on.
    disperser : str, optional
        Grating and filter, as in ``G140H/F100LP``; needed where there are several.

    Returns
    -------
    ~msa3d_steps.cube.sources.Source
        The source with its cutouts and metadata, in the order of the files.

    Raises
    ------
    InputError
        Where a file is missing or damaged, or none has the source.
    """
    source = None
    for path in paths:
        for entry in load_entries(path, {label}):
            if disperser is not None and entry.source.disperser != disperser:
                continue
            source = source or replace(entry.source, cutouts=[], headers=[])
            add_entry(entry, source)
    if source is None:
        raise InputError(f"no exposure has cutouts of {label}; start the run again")
    return source


def load_entries(path, labels=None):
    """Read cutouts of one exposure.

    Parameters
    ----------
    path : str or pathlib.Path
        A file of `save_cutouts`.
    labels : collection of str, optional
        Labels of the sources that are wanted; all by default. The cutouts of others are not read.

    Returns
    -------
    list of ~msa3d_steps.cube.reading.Entry
        The same as were saved, in their order.

    Raises
    ------
    InputError
        Where the file is missing or damaged.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            return list(_entries(file, path.stat().st_size, labels))
    except OSError as err:
        reason = f"cannot be read ({err.strerror})"
        raise InputError(f"{reason}; delete it and start the run again", str(path)) from err
    except ValueError as err:
        reason = f"is damaged ({err})"
        raise InputError(f"{reason}; delete it and start the run again", str(path)) from err


def _entries(file, total, labels):
    prefix = file.read(PREFIX)
    if len(prefix) < PREFIX or not prefix.startswith(MAGIC):
        raise ValueError("it does not begin as a file of cutouts")
    length = int.from_bytes(prefix[-12:-4], "little")
    index = file.read(min(length, total))
    _check(index, length, int.from_bytes(prefix[-4:], "little"))
    index = json.loads(index)
    for identity, header, position, size, checksum in index["records"]:
        if labels is not None and identity["label"] not in labels:
            continue
        file.seek(PREFIX + length + position)
        record = np.fromfile(file, np.uint8, size)
        _check(record, size, checksum)
        yield Entry(Source(**identity), _cutout(record), index["headers"][header])


def _check(content, size, checksum):
    if len(content) != size:
        raise ValueError("it is truncated")
    if zlib.crc32(content) != checksum:
        raise ValueError("a checksum is wrong")


def _record(cutout):
    """Give a cutout as pieces of bytes: length of its description, the description, its arrays."""
    arrays = []
    description = json.dumps(_described(cutout, arrays)).encode()
    description += b" " * (-(8 + len(description)) % ALIGNMENT)
    pieces = [len(description).to_bytes(8, "little"), description]
    for array in arrays:
        pieces += [array.tobytes(), bytes(-array.nbytes % ALIGNMENT)]
    return pieces


def _described(value, arrays):
    """Give a value as JSON has it; arrays are taken aside."""
    if is_dataclass(value):
        parts = {f.name: _described(getattr(value, f.name), arrays) for f in fields(value)}
        return {"class": type(value).__name__, **parts}
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"dtype": value.dtype.str, "shape": value.shape}
    if isinstance(value, tuple):
        return [_described(part, arrays) for part in value]
    return value.item() if isinstance(value, np.generic) else value


def _cutout(record):
    """Make a cutout of its record; its arrays are views of it."""
    start = 8 + int.from_bytes(record[:8].tobytes(), "little")
    # arrays follow in the order of the description
    return _made(json.loads(record[8:start].tobytes()), _Arrays(record, start))


class _Arrays:
    """Takes arrays off a record, one after the other."""

    def __init__(self, record, position):
        self._record, self._position = record, position

    def take(self, dtype, shape):
        array = np.ndarray(shape, dtype, self._record, self._position)
        self._position += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        return array


def _made(value, arrays):
    """Make a value of its description."""
    if isinstance(value, dict) and "class" in value:
        cls = CLASSES[value.pop("class")]
        return cls(**{key: _made(part, arrays) for key, part in value.items()})
    if isinstance(value, dict):
        return arrays.take(**value)
    return tuple(_made(part, arrays) for part in value) if isinstance(value, list) else value
