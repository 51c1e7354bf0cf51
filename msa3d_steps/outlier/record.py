"""Masks and expectations as a file, to look at what was flagged and why."""

import numpy as np
from astropy.io import fits

from msa3d_steps.whole import replace_whole

__all__ = ["write_outliers"]


def write_outliers(path, source, masks, expected=None):
    """Write masks and expectations of a source, whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        The file; one that is there is replaced.
    source : ~msa3d_steps.cube.sources.Source
        The source.
    masks : list of numpy.ndarray
        Boolean, shape ``(ny, nx)``: outliers of each cutout. Extensions ``OUTLIERS``.
    expected : list of numpy.ndarray, optional
        Shape ``(ny, nx)``, MJy/sr: what other exposures make expect. Extensions ``EXPECTED``.
    """
    hdus = fits.HDUList([fits.PrimaryHDU()])
    hdus[0].header["SOURCE"] = source.label
    for number, (cutout, mask) in enumerate(zip(source.cutouts, masks, strict=True), 1):
        header = fits.Header()
        header["EXPFILE"] = (cutout.file, "exposure")
        header["SLTNAME"] = (cutout.slit, "slit")
        header["DETECTOR"] = cutout.detector
        header["NOUTLIER"] = (int(mask.sum()), "outliers")
        hdus.append(fits.CompImageHDU(mask.astype(np.uint8), header, name="OUTLIERS"))
        hdus[-1].ver = number
        if expected is not None:
            header["BUNIT"] = "MJy/sr"
            hdus.append(fits.ImageHDU(expected[number - 1], header, name="EXPECTED", ver=number))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_whole(path) as temporary:
        hdus.writeto(temporary)
