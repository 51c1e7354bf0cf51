"""Noise-free cubes of a simulated survey as files."""

from pathlib import Path

import numpy as np
from astropy.io import fits

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.record import read_truth
from msa3d_steps.simulate.scene.truth import read_grid, truth_cube
from msa3d_steps.whole import replace_whole

__all__ = ["write_truth_cube"]

CARRIED = ("SRCNAME", "SRCLABEL", "SRCRA", "SRCDEC", "GRATING", "FILTER", "DETECTOR", "TARGNAME")


def write_truth_cube(folder, cube, output=None):
    """Write the noise-free cube of the survey in a folder on the grid of a cube.

    It shows the scene through the point spread function and the line spread function, averaged
    over the voxels; no slit is in it.

    Parameters
    ----------
    folder : str or Path
        Folder of the survey.
    cube : str or Path
        A cube (s3d) of any part of the survey's field.
    output : str or Path or None
        Where to; beside the cube, with the suffix ``truth``, if not given.

    Returns
    -------
    Path
        The file: SCI (MJy/sr), with the cube's own WCS.

    Raises
    ------
    InputError
        If there is no survey, or the cube cannot be read or is not one of the survey's field.
    """
    truth, cube = read_truth(folder), Path(cube)
    grid = read_grid(cube)
    distance = max(abs(grid.ra - truth.survey.ra), abs(grid.dec - truth.survey.dec))
    if distance > 0.5:
        raise InputError("it is not of the field of this survey; name its own folder", cube.name)
    stem = cube.stem.removesuffix("_s3d")
    output = Path(output) if output else cube.with_name(f"{stem}_truth.fits")
    data = truth_cube(truth.scene, truth.psf, grid, truth.dispersion)
    with fits.open(cube) as file:
        primary = fits.PrimaryHDU()
        for key in CARRIED:
            if key in file[0].header:
                primary.header[key] = file[0].header[key]
        primary.header["FILENAME"] = output.name
        header = file["SCI"].header.copy()
        header["BUNIT"] = "MJy/sr"
        hdus = [primary, fits.ImageHDU(data.astype(np.float32), header, "SCI")]
        if "WCS-TABLE" in file:
            hdus.append(file["WCS-TABLE"].copy())
        with replace_whole(output) as temporary:
            fits.HDUList(hdus).writeto(temporary, overwrite=True)
    return output
