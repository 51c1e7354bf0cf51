"""Line maps as a data model, to be written beside the cube."""

import numpy as np

from msa3d_steps.datamodels.linemaps import PLANES, MSALineMapsModel

__all__ = ["as_model"]


def as_model(view, maps, cube=None, snr=None):
    """Put the maps of lines into a data model.

    Parameters
    ----------
    view : CubeView
        The cube.
    maps : sequence of LineMaps
        Maps of its lines, the strongest first.
    cube : MSACubeModel, optional
        The model of the cube, from which metadata are taken.
    snr : float, optional
        Signal over noise from which on spaxels have a velocity.

    Returns
    -------
    MSALineMapsModel
        The maps.
    """
    model = MSALineMapsModel(validate_on_assignment=False)  # all is validated on writing
    sky = {key: value for key, value in view.wcs.to_header().items() if value != ""}
    if cube is not None:
        _take_metadata(model, cube)
        if cube.meta.wcsinfo.specsys:
            sky["SPECSYS"] = cube.meta.wcsinfo.specsys
    own = model.meta.msa3d
    own.source_label, own.source_name = view.title, view.name
    own.source_ra, own.source_dec = view.ra, view.dec
    own.n_lines, own.snr = len(maps), snr
    own.wcs = sky
    for line in maps:
        model.lines.append(_content(line))
    rows = [_row(line) for line in maps]
    model.line_table = np.array(rows, dtype=model.get_dtype("line_table"))
    return model


def _take_metadata(model, cube):
    """Take over what is true of the maps, too."""
    model.update(cube, only="PRIMARY", cal_logs=False)
    model.meta.model_type = "JwstDataModel"
    found = getattr(cube.meta, "msa3d", None)
    model.meta.msa3d.version = getattr(found, "version", None)
    model.meta.msa3d.key = getattr(found, "key", None)
    model.meta.msa3d.cube = cube.meta.filename


def _content(line):
    """Give what the model holds of a line."""
    low, high = line.window
    content = {
        "name": line.name, "rest": line.rest, "wavelength": line.wavelength,
        "redshift": line.redshift, "window_low": low, "window_high": high,
        "total_flux": line.total_flux, "total_flux_err": line.total_flux_err,
    }  # fmt: skip
    content = {key: value for key, value in content.items() if value is not None}
    for plane in PLANES:
        kind = np.uint8 if plane in ("mask", "aperture") else np.float32
        content[plane] = np.asarray(getattr(line, plane), kind)
    return content


def _row(line):
    """Make the row of a line in the table LINES."""
    low, high = line.window
    unknown = [np.nan if v is None else v for v in (line.rest, line.wavelength, line.redshift)]
    seen = int(np.isfinite(line.velocity).sum())
    return (
        line.name, *unknown, low, high, line.total_flux, line.total_flux_err, line.total_snr, seen,
    )  # fmt: skip
