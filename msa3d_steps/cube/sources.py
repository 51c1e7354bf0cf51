"""What a cube is made of: the cutouts of one source as plain arrays, with what must be known."""

import logging
from dataclasses import dataclass, field

import numpy as np
from stdatamodels.jwst.datamodels.dqflags import pixel as dqflags

from msa3d_steps.cube.footprint import Footprint, footprint_from_wcs
from msa3d_steps.errors import InputError

__all__ = [
    "Cutout", "Source", "cutout_from_slit", "disperser_of", "optics_of", "source_label",
    "tell_apart", "titles_of",
]  # fmt: skip

log = logging.getLogger(__name__)

UNIT = "mjy/sr"

SHUTTER_DISTANCE = 1.15
"""Distance of two shutters along the slit in open heights, for data that do not tell it (jwst)."""


@dataclass(frozen=True)
class Cutout:
    """One slitlet of one exposure of one detector.

    Parameters
    ----------
    data : numpy.ndarray
        Surface brightness, MJy/sr, float32, shape ``(ny, nx)``; NaN where it must not be used.
    variance : numpy.ndarray
        Its variance, (MJy/sr)^2, float32, same shape.
    read_variance : numpy.ndarray or None
        The part of it that read noise gives.
    footprint : Footprint
        Its geometry.
    file, slit : str
        Name of the file and of the slit in it.
    detector, exposure, visit : str
        Detector, exposure (the same for both detectors) and visit.
    disperser : str
        Grating and filter, as in ``G140H/F100LP``.
    exposure_time : float
        Effective exposure time, s.
    pointing : tuple of float or None
        ra and dec, degrees, of the telescope's reference point.
    rejected : int
        Number of lit pixels that are left out.
    shutter_state : str
        The shutters of the slitlet, as in ``1x1``: open, the source's, open; empty if not known.
    pathloss : str
        Pathloss that is corrected: ``UNIFORM``, ``POINT``, or empty for none.
    outliers : int
        How many of the rejected pixels are outliers; -1 where they were not looked for.
    """

    data: np.ndarray
    variance: np.ndarray
    read_variance: np.ndarray | None
    footprint: Footprint
    file: str
    slit: str
    detector: str
    exposure: str
    visit: str
    disperser: str
    exposure_time: float
    pointing: tuple | None
    rejected: int
    shutter_state: str = ""
    pathloss: str = ""
    outliers: int = -1

    @property
    def used(self):
        """Number of pixels that are used."""
        return int(np.isfinite(self.data).sum())


@dataclass(repr=False)
class Source:
    """Everything that one cube is made of: the cutouts of one source through one disperser.

    Parameters
    ----------
    label : str
        Name as in jwst's product names: ``s000008512``, ``b...`` or ``v...``.
    source_id : int
        Number of the source.
    name : str
        Name of the source, as in ``1345_933``.
    ra, dec : float or None
        Its catalogue position, degrees.
    cutouts : list of Cutout
        Its cutouts.
    headers : list of dict
        Metadata of the exposures by dotted names, one for each cutout.
    disperser : str
        Grating and filter of its cutouts, as in ``G140H/F100LP``.
    told_apart : bool
        Whether names must tell the disperser, since there are cutouts through others.
    members : list of ~msa3d_steps.cube.provenance.Member
        Files or models that its cutouts are from, and those that its background is measured in.
    moves : list of ~msa3d_steps.cube.registration.offsets.Move
        By how much each cutout was moved on the sky; empty if none was.
    registered : dict
        What is told of that in the metadata of the cube.
    """

    label: str
    source_id: int
    name: str
    ra: float | None = None
    dec: float | None = None
    cutouts: list = field(default_factory=list)
    headers: list = field(default_factory=list)
    disperser: str = ""
    told_apart: bool = False
    members: list = field(default_factory=list)
    moves: list = field(default_factory=list)
    registered: dict = field(default_factory=dict)

    def __repr__(self):
        return f"Source({self.title}, {len(self.cutouts)} cutouts)"  # stpipe logs its arguments

    @property
    def key(self):
        """Label and disperser: what has a cube of its own."""
        return self.label, self.disperser

    @property
    def title(self):
        """Label, with the disperser where that must be told: ``s000008512_f100lp-g140h``."""
        return f"{self.label}_{optics_of(self.disperser)}" if self.told_apart else self.label

    @property
    def kind(self):
        """``source``, ``background`` or ``virtual``."""
        return {"s": "source", "b": "background", "v": "virtual"}[self.label[0]]

    def answers_to(self, wanted):
        """Whether a name given by a user means this source: its label, number or name."""
        return str(wanted).strip() in {self.label, str(self.source_id), self.name}


def titles_of(keys):
    """Name sources so that those through different dispersers are told apart.

    Parameters
    ----------
    keys : iterable of tuple of str
        Label and disperser of each.

    Returns
    -------
    dict
        `Source.title` by key.
    """
    sources = [Source(label, 0, "", disperser=disperser) for label, disperser in set(keys)]
    tell_apart(sources)
    return {source.key: source.title for source in sources}


def tell_apart(sources):
    """Make sources name their disperser where there are several dispersers.

    Parameters
    ----------
    sources : collection of Source
        All sources of a run; changed in place.
    """
    several = len({source.disperser for source in sources}) > 1
    for source in sources:
        source.told_apart = several


def optics_of(disperser):
    """Name a disperser, ``G140H/F100LP``, as in jwst's product names, ``f100lp-g140h``."""
    return "-".join(reversed(disperser.lower().split("/")))


def disperser_of(meta):
    """Take grating and filter from the metadata of an exposure.

    Parameters
    ----------
    meta : node
        The metadata.

    Returns
    -------
    str
        As in ``G140H/F100LP``.
    """
    return f"{_get(meta, 'instrument.grating')}/{_get(meta, 'instrument.filter')}"


def source_label(source_id, source_name):
    """Name a source as jwst names its products.

    Parameters
    ----------
    source_id : int
        Number of the source; negative for virtual slits.
    source_name : str
        Name of the source; with ``BKG`` in it for background slits.

    Returns
    -------
    str
        ``s``, ``b`` or ``v`` and nine digits.
    """
    if "BKG" in source_name:
        return f"b{source_id:>09d}"
    if source_id < 0:
        return f"v{-source_id:>09d}"
    return f"s{source_id:>09d}"


def cutout_from_slit(slit, meta, file):
    """Take what is needed out of a slit.

    Parameters
    ----------
    slit : `~stdatamodels.jwst.datamodels.SlitModel` or node of such
        The slit.
    meta : node
        Metadata of its exposure; that of the slit itself, or of the file that holds it.
    file : str
        Name of the file, for messages.

    Returns
    -------
    Cutout
        Plain arrays and geometry. Nothing in it refers to the slit.

    Raises
    ------
    InputError
        Where the slit cannot be used; the message says why and what to do.
    """
    name = str(_get(slit, "name") or _get(slit, "slitlet_id") or "1")
    try:
        return _cutout(slit, meta, file, name)
    except InputError as err:
        raise InputError(err.problem.message, file, name) from err


def _cutout(slit, meta, file, name):
    data = _get(slit, "data")
    if data is None or np.ndim(data) != 2:
        raise InputError("there is no 2-D spectrum; give cal or s2d files of MSA spectra")
    if min(np.shape(data)) < 2:
        raise InputError(f"the cutout is only {np.shape(data)} pixels; leave the slit out")
    _check_unit(_get(slit, "meta.bunit_data") or _get(meta, "bunit_data"))
    wcs = _get(slit, "meta.wcs")
    if wcs is None:
        raise InputError(
            "the WCS is missing (it is in the ASDF extension, which other tools may drop); run "
            "assign_wcs and extract_2d (calwebb_spec2) again"
        )

    data = np.array(data, dtype=np.float32)
    variance = _variance(slit, data.shape)
    usable = np.isfinite(data) & np.isfinite(variance)
    outlier = np.zeros(data.shape, bool)
    dq = _get(slit, "dq")
    if dq is not None and np.shape(dq) == data.shape:
        outlier = (np.asarray(dq) & dqflags["OUTLIER"]) != 0
        usable &= ((np.asarray(dq) & dqflags["DO_NOT_USE"]) == 0) | outlier
    footprint = footprint_from_wcs(wcs, usable, _opening(slit))  # the slit is lit there, too
    outlier &= usable
    usable &= ~outlier
    if not usable.any():
        raise InputError("no pixel has data (all are NaN or DO_NOT_USE); leave this slit out")
    data[~usable] = np.nan
    read_variance = _get(slit, "var_rnoise")
    if np.shape(read_variance) == data.shape and np.any(np.nan_to_num(read_variance) > 0):
        read_variance = np.array(read_variance, dtype=np.float32)
    else:
        read_variance = None

    pointing = (_get(meta, "wcsinfo.ra_ref"), _get(meta, "wcsinfo.dec_ref"))
    if pointing[0] is None:
        pointing = (_get(slit, "meta.wcsinfo.ra_ref"), _get(slit, "meta.wcsinfo.dec_ref"))
    time = _get(meta, "exposure.effective_exposure_time") or _get(meta, "exposure.exposure_time")
    return Cutout(
        data=data,
        variance=variance,
        read_variance=read_variance,
        footprint=footprint,
        file=file,
        slit=name,
        detector=str(_get(meta, "instrument.detector") or "N/A"),
        exposure=_exposure(meta, file),
        visit=str(_get(meta, "observation.visit_id") or ""),
        disperser=disperser_of(meta),
        exposure_time=float(time or 0.0),
        pointing=pointing if None not in pointing else None,
        rejected=footprint.n_lit - int(usable.sum()),
        shutter_state=str(_get(slit, "shutter_state") or ""),
        pathloss=_pathloss(slit),
        outliers=int(outlier.sum()) if _outliers_are_known(meta) else -1,
    )


def _get(node, path):
    """Attribute of a model by its dotted path; None where there is none."""
    for part in path.split("."):
        node = getattr(node, part, None)
        if node is None:
            return None
    return node


def _pathloss(slit):
    """Kind of pathloss that is corrected; empty for none."""
    kind = str(_get(slit, "pathloss_correction_type") or "").upper()
    if kind in ("UNIFORM", "POINT"):
        return kind
    return "UNIFORM" if _get(slit, "pathloss_uniform") is not None else ""  # of jwst before 1.18


def _outliers_are_known(meta):
    """Whether outliers were looked for."""
    return _get(meta, "cal_step.outlier_detection") == "COMPLETE"


def _opening(slit):
    """Least and largest ``y_slit`` of the open shutters; None where they are not known.

    A shutter is open over 1 unit of ``y_slit``; the middle of the one called ``x`` in the shutter
    state is 0, and the distance of two middles is the slit's scale.
    """
    state = str(_get(slit, "shutter_state") or "")
    if state.count("x") != 1:
        return None
    distance = float(_get(slit, "slit_yscale") or SHUTTER_DISTANCE)
    below, above = state.index("x"), len(state) - state.index("x") - 1
    return -0.5 - below * distance, 0.5 + above * distance


def _check_unit(unit):
    found = str(unit or "").replace(" ", "").lower()
    if found == UNIT:
        return
    if found == "mjy":
        raise InputError(
            "the data are in MJy, calibrated as a point source; a cube needs MJy/sr: run "
            "calwebb_spec2 again with --steps.srctype.source_type=EXTENDED"
        )
    raise InputError(
        f"the unit is {unit or 'not given'}; a cube needs MJy/sr: run the photom step "
        "(calwebb_spec2) with source type EXTENDED"
    )


def _variance(slit, shape):
    """Variance from ERR, or from its parts where ERR is missing or all 0."""
    err = _get(slit, "err")
    if err is not None and np.shape(err) == shape and np.any(np.nan_to_num(err) > 0):
        with np.errstate(over="ignore"):  # errors of 1e30 stand for pixels of no use
            return np.square(np.array(err, dtype=np.float32))
    parts = [_get(slit, part) for part in ("var_poisson", "var_rnoise", "var_flat")]
    parts = [np.array(p, np.float32) for p in parts if p is not None and np.shape(p) == shape]
    variance = parts[0] + sum(np.nan_to_num(p) for p in parts[1:]) if parts else np.zeros(shape)
    if not np.any(np.nan_to_num(variance) > 0):
        raise InputError(
            "there is neither an error nor a variance above 0; run calwebb_spec2 again"
        )
    return variance


def _exposure(meta, file):
    """Name of the exposure that both detectors share."""
    parts = [
        _get(meta, f"observation.{part}")
        for part in (
            "program_number",
            "observation_number",
            "visit_number",
            "visit_group",
            "sequence_id",
            "activity_id",
            "exposure_number",
        )
    ]
    if None in parts:
        return file.lower().replace("nrs1", "nrs").replace("nrs2", "nrs")
    return "_".join(str(part) for part in parts)
