"""The exposures in a folder, by what their headers say; names of files count for nothing."""

from dataclasses import dataclass, field
from pathlib import Path

from msa3d_steps.association.headers import read_headers
from msa3d_steps.cube.sources import source_label

__all__ = [
    "DETECTORS", "KINDS", "Exposure", "Frame", "Pointing", "SourceName", "kind_of",
    "pair_detectors", "read_frame",
]  # fmt: skip

KINDS = ("uncal", "rate", "cal")
"""What can be started from, in the order of processing."""

DETECTORS = ("NRS1", "NRS2")

EXPOSURE_KEYWORDS = ("PROGRAM", "OBSERVTN", "VISIT", "VISITGRP", "SEQ_ID", "ACT_ID", "EXPOSURE")
"""What both detectors of an exposure have in common, and no other exposure."""

OF_MODEL = {
    "Level1bModel": "uncal",
    "ImageModel": "rate",
    "MultiSlitModel": "cal",
    "CubeModel": "rateints",
    "RampModel": "ramp",
    "MultiSpecModel": "x1d",
    "IFUCubeModel": "s3d",
    "MSACubeModel": "s3d",
    "SlitModel": "slit",
}
"""Kind of file of a data model (keyword DATAMODL)."""


@dataclass(frozen=True)
class Pointing:
    """Where the telescope looked.

    Parameters
    ----------
    ra, dec : float
        A reference point, degrees; the same one of the telescope in all exposures.
    position_angle : float
        Direction along the slits on the sky, degrees east of north.
    """

    ra: float
    dec: float
    position_angle: float


@dataclass(frozen=True, order=True)
class SourceName:
    """How a source is called.

    Parameters
    ----------
    label : str
        Name in jwst's products: ``s000008512``.
    source_id : int
        Number.
    name : str
        Name in the catalogue.
    """

    label: str
    source_id: int
    name: str


@dataclass(frozen=True)
class Frame:
    """One file: what one detector gave in one exposure.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    kind : str
        ``uncal``, ``rate``, ``cal``, or another kind that is of no use here.
    exposure_type : str
        Keyword EXP_TYPE.
    detector : str
        ``NRS1`` or ``NRS2``.
    key : tuple of str
        Programme, observation, visit, group, sequence, activity and exposure.
    grating : str
        Grating and filter, as in ``G140H/F100LP``.
    msa_id : int
        MSA configuration (keyword MSAMETID).
    metafile : str
        Name of the MSA metafile (keyword MSAMETFL); empty where there is none.
    dither_point : int
        Number in the dither pattern (keyword PATT_NUM).
    time : float
        Effective exposure time, s.
    pointing : Pointing or None
        Where the telescope looked; None where the headers do not tell.
    sources : frozenset of SourceName
        Sources of the slits of a calibrated exposure.
    """

    path: Path
    kind: str
    exposure_type: str
    detector: str
    key: tuple
    grating: str
    msa_id: int
    metafile: str
    dither_point: int
    time: float
    pointing: Pointing | None
    sources: frozenset = frozenset()


@dataclass(frozen=True)
class Exposure:
    """What both detectors gave.

    Parameters
    ----------
    frames : dict
        `Frame` by detector.
    """

    frames: dict = field(default_factory=dict)

    @property
    def first(self):
        """One of its frames; of what they share it tells the truth."""
        return next(iter(self.frames.values()))

    @property
    def missing(self):
        """Detectors whose file is not there."""
        return tuple(d for d in DETECTORS if d not in self.frames)

    @property
    def visit(self):
        """Programme, observation and visit in one: ``02136001001``."""
        return "".join(self.first.key[:3])

    @property
    def name(self):
        """Name as the archive has it, without detector: ``jw02136001001_03101_00001``."""
        *activity, number = self.first.key[3:]
        return f"jw{self.visit}_{''.join(activity)}_{number.zfill(5)}"


def read_frame(path):
    """Read what is needed of a file's headers.

    Parameters
    ----------
    path : pathlib.Path
        The FITS file.

    Returns
    -------
    Frame or None
        None where the file is not of JWST's NIRSpec, or no exposure.

    Raises
    ------
    InputError
        Where it cannot be read or is cut short.
    """
    headers = read_headers(path)
    primary = headers[0]
    if primary.get("INSTRUME") != "NIRSPEC" or not primary.get("EXP_TYPE"):
        return None
    science = [h for h in headers[1:] if h.get("EXTNAME") == "SCI"]
    kind = kind_of(primary)
    return Frame(
        path=path,
        kind=kind,
        exposure_type=primary.get("EXP_TYPE"),
        detector=str(primary.get("DETECTOR", "")),
        key=tuple(str(primary.get(k, "")).strip() for k in EXPOSURE_KEYWORDS),
        grating=f"{primary.get('GRATING')}/{primary.get('FILTER')}",
        msa_id=int(primary.get("MSAMETID", 0)),
        metafile=str(primary.get("MSAMETFL", "")).strip(),
        dither_point=int(primary.get("PATT_NUM", 1)),
        time=float(primary.get("EFFEXPTM", 0.0)),
        pointing=_pointing([*science[:1], primary]),
        sources=frozenset(filter(None, map(_source, science))) if kind == "cal" else frozenset(),
    )


def kind_of(primary):
    """Tell what a file is by its data model and the steps that were done.

    Parameters
    ----------
    primary : RawHeader
        Its primary header.

    Returns
    -------
    str
        ``uncal``, ``rate``, ``cal``, or another kind that is of no use here.
    """
    model = str(primary.get("DATAMODL", ""))
    kind = OF_MODEL.get(model, model or "unknown")
    done = {k for k in ("S_WCS", "S_PHOTOM", "S_RESAMP", "S_OUTLIR") if _is_done(primary, k)}
    if kind == "rate" and done:
        return "intermediate"
    if kind == "cal" and done & {"S_RESAMP", "S_OUTLIR"}:
        return "s2d" if "S_RESAMP" in done else "crf"
    if kind == "cal" and "S_PHOTOM" not in done:
        return "intermediate"
    return kind


def _is_done(header, keyword):
    return str(header.get(keyword, "")).strip() == "COMPLETE"


def _pointing(headers):
    """Take the pointing from the aperture's reference point, or from the telescope's axis."""

    def get(keyword):
        for header in headers:
            value = header.get(keyword)
            if isinstance(value, (int, float)):
                return float(value)
        return None

    # jwst's y_slit counts against the aperture's ideal y axis
    for ra, dec, roll in (("RA_REF", "DEC_REF", "ROLL_REF"), ("RA_V1", "DEC_V1", "PA_V3")):
        place = get(ra), get(dec), get(roll), get("V3I_YANG")
        if None not in place:
            return Pointing(place[0], place[1], (place[2] + place[3] + 180) % 360)
    return None


def _source(header):
    """Name the source of a slit."""
    number, name = header.get("SOURCEID"), str(header.get("SRCNAME", "")).strip()
    if number is None:
        return None
    return SourceName(source_label(int(number), name), int(number), name or str(number))


def pair_detectors(frames):
    """Put both detectors of each exposure together.

    Parameters
    ----------
    frames : sequence of Frame
        Files of one kind.

    Returns
    -------
    exposures : list of Exposure
        By programme, observation, visit, ... and exposure.
    twins : list of tuple of Frame
        A file that was left out, since it is the same as one that is in, and that one.
    """
    found, twins = {}, []
    for frame in sorted(frames, key=lambda f: str(f.path)):
        pair = found.setdefault((frame.key, frame.grating), {})
        if frame.detector in pair:
            twins.append((frame, pair[frame.detector]))
        else:
            pair[frame.detector] = frame
    exposures = [
        Exposure(dict(sorted(pair.items()))) for _, pair in sorted(found.items(), key=_order)
    ]
    return exposures, twins


def _order(item):
    """Sort exposures with their number as a number."""
    (*activity, number), grating = item[0]
    return *activity, number.zfill(5), grating
