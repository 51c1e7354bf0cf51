"""What a step does to a cutout: the same for plain arrays and for the slits of models."""

from dataclasses import dataclass, replace

import numpy as np
from stdatamodels.jwst.datamodels.dqflags import pixel as dqflags

__all__ = ["Correction", "correct_slit", "corrected_cutout", "corrected_source"]

OUTLIER = dqflags["OUTLIER"] | dqflags["DO_NOT_USE"]


@dataclass(frozen=True)
class Correction:
    """What is done to one cutout, in this order; None where nothing is.

    Parameters
    ----------
    factor : numpy.ndarray or None
        Shape ``(ny, nx)``: data and errors are divided by it.
    sky : numpy.ndarray or None
        Shape ``(ny, nx)``, MJy/sr: is subtracted from the data.
    sky_variance : numpy.ndarray or None
        Shape ``(ny, nx)``, (MJy/sr)^2: is added to the variance.
    outliers : numpy.ndarray or None
        Boolean, shape ``(ny, nx)``: pixels that are flagged; their values stay.
    pathloss : str or None
        The pathloss that is corrected from now on, as in `Cutout`; None where that is as before.
    """

    factor: np.ndarray | None = None
    sky: np.ndarray | None = None
    sky_variance: np.ndarray | None = None
    outliers: np.ndarray | None = None
    pathloss: str | None = None


def corrected_cutout(cutout, correction):
    """Correct a cutout.

    Parameters
    ----------
    cutout : ~msa3d_steps.cube.sources.Cutout
        The cutout; it is not changed.
    correction : Correction
        What to do.

    Returns
    -------
    ~msa3d_steps.cube.sources.Cutout
        The corrected one. Outliers are NaN in it.
    """
    data, variance, read_variance = cutout.data, cutout.variance, cutout.read_variance
    if correction.factor is not None:
        data = data / correction.factor
        variance = variance / correction.factor**2
        read_variance = None if read_variance is None else read_variance / correction.factor**2
    if correction.sky is not None:
        data = data - correction.sky
    if correction.sky_variance is not None:
        variance = variance + correction.sky_variance
    found, rejected = cutout.outliers, cutout.rejected
    if correction.outliers is not None:
        hit = correction.outliers & np.isfinite(data)
        data = np.where(hit, np.float32(np.nan), data)
        found = max(found, 0) + int(hit.sum())
        rejected += int(hit.sum())
    pathloss = cutout.pathloss if correction.pathloss is None else correction.pathloss
    arrays = {"data": data, "variance": variance, "read_variance": read_variance}
    arrays = {k: v if v is None else v.astype(np.float32, copy=False) for k, v in arrays.items()}
    return replace(cutout, **arrays, outliers=found, rejected=rejected, pathloss=pathloss)


def corrected_source(source, corrections, status, outcome="COMPLETE"):
    """Correct all cutouts of a source.

    Parameters
    ----------
    source : ~msa3d_steps.cube.sources.Source
        The source; it is not changed.
    corrections : list of Correction
        One for each cutout, in their order; None for those that stay as they are.
    status : str
        Name of the step in ``meta.cal_step``.
    outcome : str
        What that says from now on.

    Returns
    -------
    ~msa3d_steps.cube.sources.Source
        The corrected one.
    """
    cutouts, headers, made = [], [], {}
    for cutout, header, correction in zip(source.cutouts, source.headers, corrections, strict=True):
        if correction is None:
            cutouts.append(cutout)
            headers.append(header)
            continue
        cutouts.append(corrected_cutout(cutout, correction))
        # cutouts of an exposure share their metadata
        done = {**header, f"meta.cal_step.{status}": outcome}
        headers.append(made.setdefault(id(header), done))
    return replace(source, cutouts=cutouts, headers=headers)


def correct_slit(slit, correction):
    """Correct the slit of a model in place.

    Parameters
    ----------
    slit : node
        The slit, whose arrays are changed.
    correction : Correction
        What to do.
    """
    if correction.factor is not None:
        _scale(slit, ("data", "err"), correction.factor)
        _scale(slit, ("var_poisson", "var_rnoise", "var_flat"), correction.factor**2)
    if correction.sky is not None:
        slit.data = np.float32(slit.data - correction.sky)
    if correction.sky_variance is not None:
        slit.err = np.float32(np.sqrt(np.square(slit.err, dtype=float) + correction.sky_variance))
    if correction.outliers is not None:
        dq = slit.dq
        if dq is None or np.shape(dq) != np.shape(slit.data):
            dq = np.zeros(np.shape(slit.data), np.uint32)
        slit.dq = dq | np.where(correction.outliers, np.uint32(OUTLIER), np.uint32(0))


def _scale(slit, names, factor):
    for name in names:
        array = getattr(slit, name, None)
        if array is not None and np.shape(array) == factor.shape:
            setattr(slit, name, np.float32(array / factor))
