"""An exposure as plain arrays on its detector: what the picture of the detector is made of."""

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from stdatamodels.jwst.datamodels import dqflags

from msa3d_steps.cube.sources import source_label
from msa3d_steps.errors import InputError
from msa3d_steps.whole import refuse_truncated

__all__ = ["FLAGS", "Exposure", "Slitlet", "blocks", "flag_shares", "read_exposure"]

FLAGS = {
    name: int(dqflags.pixel[name]) for name in ("OUTLIER", "SATURATED", "JUMP_DET", "DO_NOT_USE")
}
"""What is shown of DQ; of several flags of a pixel the first gives its colour."""

NON_SCIENCE = int(dqflags.pixel["NON_SCIENCE"])

SAMPLES = 256
"""Number of columns at which the outline of a slitlet is taken."""

FULL = 2048, 2048
"""Rows and columns of a detector."""


@dataclass(frozen=True)
class Slitlet:
    """A slitlet, where it is on the detector.

    Attributes
    ----------
    label : str
        Its source, as in ``s8512``.
    x, y : int
        First column and row, 0-based.
    data : numpy.ndarray
        The image, shape ``(rows, columns)``.
    dq : numpy.ndarray
        Its flags, the same shape.
    lit : numpy.ndarray of bool
        Pixels that light of the slitlet falls on, the same shape.
    """

    label: str
    x: int
    y: int
    data: np.ndarray
    dq: np.ndarray
    lit: np.ndarray

    def outline(self):
        """Give the corners of the outline, pixels of the detector, shape ``(n, 2)``."""
        columns = np.flatnonzero(self.lit.any(axis=0))
        if not columns.size:
            rows, n_columns = self.lit.shape
            x, y = np.array([0, n_columns, n_columns, 0]), np.array([0, 0, rows, rows])
            return np.stack([x + self.x, y + self.y], axis=1) - 0.5
        some = columns[np.linspace(0, columns.size - 1, min(SAMPLES, columns.size)).astype(int)]
        lit = self.lit[:, some]
        low, high = lit.argmax(axis=0), len(lit) - lit[::-1].argmax(axis=0)
        x = np.concatenate([some, some[::-1]])
        return np.stack([x + self.x, np.concatenate([low, high[::-1]]) + self.y - 0.5], axis=1)


@dataclass(frozen=True)
class Exposure:
    """An exposure of one detector.

    Attributes
    ----------
    title : str
        Name of the file.
    detector, optics, unit : str
        As ``NRS1``, ``F100LP-G140H`` and ``MJy/sr``; empty where unknown.
    time : float or None
        Exposure time, s.
    image : numpy.ndarray
        What was measured, shape ``(rows, columns)``, float32; NaN between the slitlets.
    dq : numpy.ndarray
        The flags, the same shape, uint32; 0 between the slitlets.
    lit : numpy.ndarray of bool
        The pixels that count: those of slitlets, or all of a whole image; the same shape.
    slitlets : tuple of Slitlet
        The slitlets; empty for a whole image.
    """

    title: str
    detector: str
    optics: str
    unit: str
    time: float | None
    image: np.ndarray
    dq: np.ndarray
    lit: np.ndarray
    slitlets: tuple = ()


def read_exposure(source):
    """Take an exposure from a file or a model.

    Parameters
    ----------
    source : str, pathlib.Path or `~stdatamodels.jwst.datamodels.JwstDataModel`
        A rate, cal or crf file (of which no WCS is read), or an ``ImageModel``,
        ``MultiSlitModel`` or ``SlitModel``.

    Returns
    -------
    Exposure
        Its arrays; those of slitlets put where they are on the detector.

    Raises
    ------
    InputError
        If it is no such exposure.
    """
    if isinstance(source, (str, Path)):
        return _of_file(Path(source))
    return _of_model(source)


def _of_file(path):
    """Read a FITS file."""
    with _opened(path) as hdus:
        main = hdus[0].header
        versions = [hdu.ver for hdu in hdus if hdu.name == "SCI"]
        parts = [
            {name: _extension(hdus, name, ver) for name in ("SCI", "DQ", "WAVELENGTH")}
            for ver in versions
        ]
        headers = [hdus["SCI", ver].header for ver in versions]
    facts = {
        "title": main.get("FILENAME") or path.name,
        "detector": main.get("DETECTOR", ""),
        "optics": "-".join(main[key] for key in ("FILTER", "GRATING") if main.get(key)),
        "unit": headers[0].get("BUNIT", "") if headers else "",
        "time": main.get("EFFEXPTM"),
    }
    if len(parts) == 1 and "SLTSTRT1" not in headers[0]:
        return _whole(facts, parts[0]["SCI"], parts[0]["DQ"], path.name)
    slitlets = tuple(
        _slitlet(
            source_label(h.get("SOURCEID", 0), h.get("SRCNAME", "")), h["SLTSTRT1"], h["SLTSTRT2"],
            part["SCI"], part["DQ"], part["WAVELENGTH"], path.name, h.get("SLTNAME"),
        )
        for h, part in zip(headers, parts, strict=True)
    )  # fmt: skip
    return _put_back(facts, slitlets, path.name)


@contextmanager
def _opened(path):
    """Open a FITS file; an error of ours if it is none."""
    try:
        with refuse_truncated(), fits.open(path, memmap=False) as hdus:
            yield hdus
    except (OSError, KeyError, Warning) as err:
        raise InputError(
            f"cannot be read as an exposure ({err}); give a rate, cal or crf file", str(path)
        ) from err


def _extension(hdus, name, ver):
    """Read an extension, None if there is none."""
    return hdus[name, ver].data if (name, ver) in hdus else None


def _of_model(model):
    """Take the arrays of a model."""
    meta = model.meta
    name = meta.filename or type(model).__name__
    instrument = meta.instrument
    facts = {
        "title": name,
        "detector": instrument.detector or "",
        "optics": "-".join(f for f in (instrument.filter, instrument.grating) if f),
        "unit": getattr(meta, "bunit_data", None) or "",
        "time": meta.exposure.effective_exposure_time,
    }
    slits = getattr(model, "slits", None)
    if slits is None and getattr(model, "xstart", None) is None:
        return _whole(facts, model.data, model.dq, name)
    slits = [model] if slits is None else slits
    if slits and not facts["unit"]:
        facts["unit"] = getattr(slits[0].meta, "bunit_data", None) or ""
    slitlets = tuple(
        _slitlet(
            source_label(slit.source_id or 0, slit.source_name or ""), slit.xstart, slit.ystart,
            slit.data, slit.dq, slit.wavelength, name, slit.name,
        )
        for slit in slits
    )  # fmt: skip
    return _put_back(facts, slitlets, name)


def _whole(facts, image, dq, name):
    """Make the exposure of a whole image."""
    if image is None or image.ndim != 2:
        raise InputError("has no image of two axes; give a rate, cal or crf file", name)
    image = np.asarray(image, np.float32)
    dq = np.zeros(image.shape, np.uint32) if dq is None else np.asarray(dq, np.uint32)
    return Exposure(**facts, image=image, dq=dq, lit=np.ones(image.shape, bool))


def _slitlet(label, xstart, ystart, data, dq, wavelength, name, slit):
    """Make a slitlet of what a file or model tells."""
    if data is None or data.ndim != 2 or None in (xstart, ystart):
        raise InputError(
            "has no image of two axes or no place on the detector; give a rate, cal or crf file",
            name, slit,
        )  # fmt: skip
    data = np.asarray(data, np.float32)
    dq = np.zeros(data.shape, np.uint32) if dq is None else np.asarray(dq, np.uint32)
    if wavelength is not None and wavelength.shape == data.shape:
        lit = np.isfinite(wavelength) & (np.asarray(wavelength) > 0)
    else:
        lit = np.isfinite(data) & (dq & NON_SCIENCE == 0)
    label = re.sub(r"(?<=^[a-z])0+(?=\d)", "", label)
    return Slitlet(label, int(xstart) - 1, int(ystart) - 1, data, dq, lit)


def _put_back(facts, slitlets, name):
    """Put slitlets where they are on the detector."""
    if not slitlets:
        raise InputError("has no slitlets; give an exposure that has some", name)
    shape = tuple(
        max(size, *(start + n for start, n in ends))
        for size, ends in (
            (FULL[0], [(s.y, s.data.shape[0]) for s in slitlets]),
            (FULL[1], [(s.x, s.data.shape[1]) for s in slitlets]),
        )
    )
    image, dq = np.full(shape, np.nan, np.float32), np.zeros(shape, np.uint32)
    lit = np.zeros(shape, bool)
    for slitlet in slitlets:
        rows, columns = slitlet.data.shape
        place = np.s_[slitlet.y : slitlet.y + rows, slitlet.x : slitlet.x + columns]
        image[place] = np.where(slitlet.lit, slitlet.data, image[place])
        dq[place] |= np.where(slitlet.lit, slitlet.dq, np.uint32(0))
        lit[place] |= slitlet.lit
    return Exposure(**facts, image=image, dq=dq, lit=lit, slitlets=slitlets)


def flag_shares(exposure):
    """Give the part of the pixels that count that have each of the flags.

    Parameters
    ----------
    exposure : Exposure
        The exposure.

    Returns
    -------
    dict of str to float
        By name of the flag.
    """
    dq = exposure.dq[exposure.lit]
    return {name: float(np.mean(dq & bit > 0)) if dq.size else 0.0 for name, bit in FLAGS.items()}


def blocks(values, size):
    """Average blocks of pixels.

    Parameters
    ----------
    values : numpy.ndarray
        An image, shape ``(rows, columns)``; NaN do not count.
    size : tuple of int
        Rows and columns of a block.

    Returns
    -------
    numpy.ndarray
        The averages, float32; blocks at the upper and right end may be cut off by the image.
    """
    good = np.isfinite(values)
    total = _sums(np.where(good, values, 0).astype(np.float32), size)
    number = _sums(good.astype(np.float32), size)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def _sums(values, size):
    """Add up blocks."""
    for axis, step in enumerate(size):
        values = np.add.reduceat(values, np.arange(0, values.shape[axis], step), axis=axis)
    return values
