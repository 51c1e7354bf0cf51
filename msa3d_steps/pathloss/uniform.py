"""The pathloss of a source that fills its slitlet evenly, as a function of wavelength.

It is relative to that of a point source in the middle of its slitlet, and larger than 1.
The reference file has a vector for one open shutter and one for three. Which of them a slitlet
takes is jwst's rule (`jwst.pathloss.pathloss`), whose functions are used here. What jwst ties to
the place of a point source is left out: it corrects no slitlet whose catalogue position lies off
the open shutters, although that has no bearing on a uniform source.
"""

import logging
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from jwst.pathloss.pathloss import (
    get_aperture_from_model,
    shutter_above_is_closed,
    shutter_below_is_closed,
)
from stdatamodels.jwst.datamodels import JwstDataModel, PathlossModel

from msa3d_steps.cube.surface import Dispersion
from msa3d_steps.errors import InputError
from msa3d_steps.whole import refuse_truncated

__all__ = [
    "UniformPathloss",
    "aperture_of",
    "corrected_kind",
    "needs_pathloss",
    "pathloss_of_cutout",
    "read_reference",
]

log = logging.getLogger(__name__)

METRES_TO_MICRON = 1e6

SLITS_SAY = (1, 18)
"""Version of jwst from which on each slit says what was corrected in it."""

FIXED_SLITS = ("S200A1", "S200A2", "S400A1", "S1600A1", "S200B1")


@dataclass(frozen=True)
class UniformPathloss:
    """The vectors of a pathloss reference file for a uniform source.

    Parameters
    ----------
    name : str
        Name of the file.
    vectors : dict
        By the number of shutters of the aperture (1, 2 or 3): wavelengths, um, ascending, and
        pathloss, both of shape ``(n,)``. Data are divided by the pathloss.
    """

    name: str
    vectors: dict

    def __call__(self, wavelength, shutter_state):
        """Interpolate linearly in wavelength.

        Parameters
        ----------
        wavelength : numpy.ndarray
            Any shape, um.
        shutter_state : str
            The shutters along the slit: ``x`` the source's, ``1`` open, ``0`` closed.

        Returns
        -------
        numpy.ndarray
            Same shape, float32; NaN outside the wavelengths of the file, as in jwst.
        """
        lam, loss = self.vectors[aperture_of(shutter_state)]
        return np.interp(wavelength, lam, loss, np.nan, np.nan).astype(np.float32)

    def range_of(self, shutter_state):
        """Least and largest wavelength for a slitlet, um."""
        lam, _ = self.vectors[aperture_of(shutter_state)]
        return float(lam[0]), float(lam[-1])


def aperture_of(shutter_state):
    """Choose the aperture for a slitlet by the rule of jwst.

    Parameters
    ----------
    shutter_state : str
        The shutters along the slit: ``x`` the source's, ``1`` open, ``0`` closed.

    Returns
    -------
    int
        2 for a slitlet of two shutters (midway between one and three), else 1 where both
        neighbours of the source's shutter are closed, else 3.
    """
    if len(shutter_state) == 2:
        return 2
    closed = shutter_below_is_closed(shutter_state) and shutter_above_is_closed(shutter_state)
    return 1 if closed else 3


def read_reference(reference):
    """Take the vectors for a uniform source out of a reference file.

    Parameters
    ----------
    reference : str, pathlib.Path or ~stdatamodels.jwst.datamodels.PathlossModel
        A reference file of type ``pathloss`` for NRS_MSASPEC. It is read once, until it changes.

    Returns
    -------
    UniformPathloss
        The vectors.

    Raises
    ------
    InputError
        Where it is no such file.
    """
    if isinstance(reference, JwstDataModel):
        return _vectors(reference, str(reference.meta.filename or "the pathloss reference"))
    path = Path(reference)
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        raise InputError(
            "there is no such file; give a pathloss reference with --override_pathloss", str(path)
        ) from None
    return _read(path, changed)


@lru_cache(maxsize=8)
def _read(path, changed):
    """Read a file; it is read again when the time of its last change is another."""
    log.debug("Reading %s, changed at %d ns", path, changed)
    try:
        with refuse_truncated(), PathlossModel(path) as model:
            return _vectors(model, str(path))
    except InputError:
        raise
    except Exception as err:  # many kinds, of astropy, asdf and stdatamodels
        raise _no_reference(str(path)) from err


def _vectors(model, name):
    try:
        one, three = (get_aperture_from_model(model, state) for state in ("x", "1x1"))
        vectors = {1: _vector(one), 3: _vector(three)}
    except (AttributeError, TypeError, ValueError, IndexError) as err:
        raise _no_reference(name) from err
    (lam, one), (lam_three, three) = vectors[1], vectors[3]
    if np.array_equal(lam, lam_three):
        vectors[2] = lam, 0.5 * (one + three)
    else:  # as jwst has it
        vectors[2] = vectors[3]
    return UniformPathloss(name, vectors)


def _vector(aperture):
    """Wavelengths, um, and pathloss of an aperture; jwst's wavelengths, in double precision."""
    wcs, loss = aperture.uniform_wcs, np.array(aperture.uniform_data, float)
    if loss.ndim != 1 or loss.size < 2 or not wcs.cdelt1 > 0:
        raise ValueError("no vector")
    lam = wcs.crval1 + (np.arange(1, loss.size + 1) - wcs.crpix1) * wcs.cdelt1
    loss[~(loss > 0)] = np.nan
    return METRES_TO_MICRON * lam, loss


def _no_reference(name):
    return InputError(
        "is no pathloss reference for the MSA (it needs apertures of 1 and 3 shutters with a "
        "vector for a uniform source); give another with --override_pathloss", name
    )  # fmt: skip


def pathloss_of_cutout(cutout, reference, shutters=None):
    """Evaluate the pathloss at the wavelengths of a cutout.

    Parameters
    ----------
    cutout : ~msa3d_steps.cube.sources.Cutout
        The cutout, rectified or not.
    reference : UniformPathloss
        The vectors.
    shutters : int, optional
        Number of open shutters, where the cutout does not know its own.

    Returns
    -------
    numpy.ndarray
        Shape ``(ny, nx)``, float32: what the data are to be divided by. NaN outside the
        wavelengths of the reference and in columns without data.

    Raises
    ------
    InputError
        Where the slitlet is none of the MSA, its shutters are not known, or the reference has none
        of its wavelengths.
    """
    if cutout.slit in FIXED_SLITS:
        raise InputError(
            "is a fixed slit; its pathloss is corrected in calwebb_spec2", cutout.file, cutout.slit
        )
    state = cutout.shutter_state
    if "x" not in state:
        if shutters is None:
            raise InputError(
                "its shutters are not known (keyword SHUTSTA is missing or has no 'x'); give the "
                "number of open shutters with --shutters", cutout.file, cutout.slit
            )  # fmt: skip
        state = "x" + "1" * (shutters - 1)
    footprint = cutout.footprint
    factor = np.full(footprint.shape, np.nan, np.float32)
    factor[:, footprint.span] = reference(footprint.wavelength(*footprint.middles), state)
    used = np.isfinite(cutout.data)
    lost = int((used & ~np.isfinite(factor)).sum())
    if lost:
        low, high = reference.range_of(state)
        if lost == used.sum():
            raise InputError(
                f"none of its wavelengths is in the pathloss reference ({low:.3g} to {high:.3g} "
                "um); give another with --override_pathloss", cutout.file, cutout.slit
            )  # fmt: skip
        log.warning(
            "%s, slit %s: %d pixels lie outside the wavelengths of the pathloss reference (%.3g to "
            "%.3g um) and are left out", cutout.file, cutout.slit, lost, low, high,
        )  # fmt: skip
    return factor


def corrected_kind(cutout, header):
    """Tell which pathloss is corrected in a cutout.

    A slit says so itself, for jwst corrects some slits of an exposure and leaves out others. Slits
    that jwst made before it said so, and rectified ones, to which it may not have been handed
    down, are corrected if their exposure is: for a uniform source, since a point source would
    have been calibrated in MJy, which makes no cutout.

    Parameters
    ----------
    cutout : ~msa3d_steps.cube.sources.Cutout
        The cutout.
    header : dict
        Metadata of its exposure by dotted names.

    Returns
    -------
    str
        ``UNIFORM``, ``POINT``, or empty for none.
    """
    if cutout.pathloss or header.get("meta.cal_step.pathloss") != "COMPLETE":
        return cutout.pathloss
    version = re.match(r"(\d+)\.(\d+)", header.get("meta.calibration_software_version", "0.0"))
    slits_say = version and tuple(map(int, version.groups())) >= SLITS_SAY
    left_out = slits_say and not isinstance(cutout.footprint.wavelength, Dispersion)
    return "" if left_out else "UNIFORM"


def needs_pathloss(source, inverse=False):
    """Tell whether the pathloss of any cutout of a source is to be corrected.

    Parameters
    ----------
    source : ~msa3d_steps.cube.sources.Source
        The source.
    inverse : bool
        Whether it is to be undone instead.

    Returns
    -------
    bool
        True where `MSA3DPathlossStep` has something to do.
    """
    wanted = "UNIFORM" if inverse else ""
    pairs = zip(source.cutouts, source.headers, strict=True)
    return any(corrected_kind(cutout, header) == wanted for cutout, header in pairs)
