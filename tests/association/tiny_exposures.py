"""Exposures that are headers and nothing else, of patterns that are known."""

from dataclasses import dataclass

import astropy.units as u
import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits

CENTER = SkyCoord(ra=214.85, dec=52.86, unit="deg")
V3I_YANG = 138.5745697
METAFILE = "jw02136001001_01_msa.fits"
MODELS = {"uncal": "Level1bModel", "rate": "ImageModel", "cal": "MultiSlitModel"}


@dataclass(frozen=True)
class Place:
    """Where an exposure is in its pattern."""

    step: int
    dither: int
    across: float
    along: float
    visit: str = "001"
    roll: float = -49.27


def snake(steps=9, dithers=7, step=0.2, dither=0.075, **options):
    """Every second dither is run through backwards, as GO-2136 did."""
    return [
        Place(i, j, i * step, j * dither, **options)
        for j in range(dithers)
        for i in (range(steps) if j % 2 == 0 else range(steps)[::-1])
    ]


def on_sky(place, jitter=(0.0, 0.0)):
    """Point the telescope: offsets along the slits, against the ideal y axis, and across them."""
    angle = (place.roll + V3I_YANG + 180) * u.deg
    x, y = place.across + jitter[0], place.along + jitter[1]
    moved = CENTER.directional_offset_by(angle, y * u.arcsec)
    return moved.directional_offset_by(angle + 90 * u.deg, x * u.arcsec)


def header_of(place, number, detector, kind="rate", **changes):
    """Make the primary header."""
    header = fits.Header(
        {
            "TELESCOP": "JWST", "INSTRUME": "NIRSPEC", "DATAMODL": MODELS.get(kind, kind),
            "EXP_TYPE": "NRS_MSASPEC", "DETECTOR": detector, "GRATING": "G140H",
            "FILTER": "F100LP", "PROGRAM": "02136", "OBSERVTN": "001", "VISIT": place.visit,
            "VISITGRP": "03", "SEQ_ID": "1", "ACT_ID": "01", "EXPOSURE": str(number),
            "MSAMETFL": METAFILE, "MSAMETID": 1, "PATT_NUM": number, "EFFEXPTM": 1000.0,
        }
    )  # fmt: skip
    if kind == "cal":
        header["S_WCS"] = header["S_PHOTOM"] = "COMPLETE"
    header.update(changes)
    return header


def science_header(place, jitter=(0.0, 0.0), axis=False):
    """Make the header of the first science extension; of the telescope's axis only, if asked."""
    sky = on_sky(place, jitter)
    names = ("RA_V1", "DEC_V1", "PA_V3") if axis else ("RA_REF", "DEC_REF", "ROLL_REF")
    values = (sky.ra.deg, sky.dec.deg, place.roll)
    return fits.Header({**dict(zip(names, values, strict=True)), "V3I_YANG": V3I_YANG})


def write_exposure(path, place, number, detector, *, jitter=(0, 0), sources=(), axis=False, **keys):
    """Write one file."""
    hdus = [fits.PrimaryHDU(header=header_of(place, number, detector, **keys))]
    header = science_header(place, jitter, axis)
    for source in sources or (None,):
        science = fits.ImageHDU(np.zeros((3, 2), np.float32), header, "SCI")
        if source:
            science.header["SOURCEID"], science.header["SRCNAME"] = source
        hdus += [science, fits.ImageHDU(np.zeros((3, 2), np.float32), name="ERR")]
    fits.HDUList(hdus).writeto(path)
    return path


def write_survey(folder, places, *, jitter=0.0, without=(), seed=1, kind="rate", **keys):
    """Write a survey under names that tell nothing, in an order that tells nothing.

    Returns the place of each file. `without` names (number, detector) that are not written.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = rng.permutation(10000)[: 2 * len(places)]
    truth = {}
    for number, place in enumerate(places, 1):
        shift = jitter * rng.standard_normal(2)
        for index, detector in enumerate(("NRS1", "NRS2")):
            if (number, detector) in without or number in without:
                continue
            path = folder / f"f{names[2 * number - 2 + index]:05d}.fits"
            write_exposure(path, place, number, detector, jitter=shift, kind=kind, **keys)
            truth[path] = place
    return truth


def write_msa_metafile(folder, points, msa_id=1, name=METAFILE, sources=(7, 100123)):
    """Write the tables of an MSA metafile that are looked at; a virtual source is among them."""
    rows = [(msa_id, p, s) for p in points for s in (*sources, -1)]
    shutters = fits.BinTableHDU.from_columns(
        [
            fits.Column(n, f, array=np.array(a))
            for n, f, a in zip(
                ("msa_metadata_id", "dither_point_index", "source_id"), "IIJ",
                zip(*rows, strict=True), strict=True,
            )
        ],
        name="SHUTTER_INFO",
    )  # fmt: skip
    every = [*sources, -1]
    catalogue = fits.BinTableHDU.from_columns(
        [
            fits.Column("source_id", "J", array=np.array(every)),
            fits.Column("source_name", "20A", array=np.array([f"2136_{s}" for s in every])),
        ],
        name="SOURCE_INFO",
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    fits.HDUList([fits.PrimaryHDU(), shutters, catalogue]).writeto(path)
    return path
