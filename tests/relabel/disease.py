"""MSA metafiles as the ground system writes them for slit stepping, made of healthy ones."""

import numpy as np
from astropy.io import fits

X, Y = "estimated_source_in_shutter_x", "estimated_source_in_shutter_y"


def infect(healthy, path):
    """Write a metafile with everything that is wrong at once.

    Source ids are cut to 16 bits. Only at the first dither point is the galaxy primary. At the
    second a virtual source beside it is, except that the last slitlet is not there at all; at the
    third there is no primary source and the lowest shutter is missing. Further ones are not there.
    """
    with fits.open(healthy) as hdus:
        rows = np.array(hdus["SHUTTER_INFO"].data)
        primary = rows["primary_source"] == b"Y"
        last = rows["slitlet_id"] == rows["slitlet_id"].max()
        dither = rows["dither_point_index"]
        own = {row["slitlet_id"]: row["shutter_column"] for row in rows[primary]}
        beside = rows["shutter_column"] - np.array([own[number] for number in rows["slitlet_id"]])
        ill = primary & (dither > 1)
        rows["primary_source"][ill], rows["background"][ill] = "N", "Y"
        rows[X][ill] = rows[Y][ill] = np.nan
        virtual = (dither == 2) & (beside == 1)
        rows["primary_source"][virtual], rows["background"][virtual] = "Y", "N"
        rows[X][virtual], rows[Y][virtual] = 0.4, 0.6
        lost = ((dither == 2) & last) | ((dither == 3) & (beside == -2)) | (dither > 3)
        write(path, hdus, rows[~lost], id_format="I")
    return path


def write(path, hdus, rows, id_format="J"):
    """Write rows as the shutters of a metafile."""
    columns = []
    for column in hdus["SHUTTER_INFO"].columns:
        values, form = rows[column.name], column.format
        if column.name == "source_id":
            form = id_format
            values = values.astype(np.int16 if form == "I" else np.int32)  # the lowest bits stay
        columns.append(fits.Column(column.name, form, array=values))
    table = fits.BinTableHDU.from_columns(columns, name="SHUTTER_INFO")
    others = [table if hdu.name == "SHUTTER_INFO" else hdu for hdu in hdus]
    fits.HDUList(others).writeto(path)
