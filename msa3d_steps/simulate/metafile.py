"""The MSA metafile: which shutters are open, and for which source.

The format is the one that jwst documents ("MSA meta data file") and reads. Two columns are as wide
as it documents them, not as narrow as in many files: source ids are 32-bit, and the positions of
the sources are double precision (single precision is wrong by up to 0.055 arcsec beyond right
ascension 256).
"""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits

from msa3d_steps.errors import InputError
from msa3d_steps.whole import replace_whole

__all__ = ["SHUTTERS_ACROSS", "SHUTTERS_ALONG", "Slitlet", "write_metafile"]

SHUTTERS_ACROSS = 365
"""Shutters of a quadrant along the dispersion (``shutter_row`` in the metafile)."""

SHUTTERS_ALONG = 171
"""Shutters of a quadrant along the slits (``shutter_column`` in the metafile)."""

QUADRANT_PLACES = {1: (1, 1), 2: (1, 0), 3: (0, 1), 4: (0, 0)}
"""Where a quadrant is in the shutter image: half along the first axis, half along the second."""


@dataclass(frozen=True)
class Slitlet:
    """The open shutters that one source shines through.

    Parameters
    ----------
    slitlet_id : int
        Number of the slitlet; jwst names the cutout by it.
    quadrant : int
        Quadrant of the MSA, 1 to 4.
    x : int
        Place across the slit, 1 to 365 (``shutter_row`` in the metafile, ``xcen`` in jwst).
    y : int
        Place of the source's shutter along the slit, 1 to 171 (``shutter_column``, ``ycen``). It is
        the middle shutter, or the lower of the two middle ones.
    n_shutters : int
        Number of open shutters, neighbours along the slit.
    source_id : int
        Number of the source, positive.
    source_name, alias : str
        Its names.
    ra, dec : float
        Its place, degrees.
    stellarity : float
        Between 0 (a galaxy) and 1 (a star); jwst takes more than 0.75 for a point source.
    source_x, source_y : float
        Estimated place of the source in its shutter; 0.5 is the centre, 0 and 1 are the edges of
        the shutter's pitch.
    """

    slitlet_id: int
    quadrant: int
    x: int
    y: int
    n_shutters: int
    source_id: int
    source_name: str
    alias: str
    ra: float
    dec: float
    stellarity: float = 0.0
    source_x: float = 0.5
    source_y: float = 0.5

    @property
    def columns(self):
        """All open shutters along the slit, as `y`: a range."""
        first = self.y - (self.n_shutters - 1) // 2
        return range(first, first + self.n_shutters)

    @property
    def shutter_state(self):
        """What jwst makes of it, e.g. ``"1x1"``."""
        return "".join("x" if column == self.y else "1" for column in self.columns)


def write_metafile(
    path, slitlets, n_dithers, metadata_id=1, program=2136, visit="001001", nuisance=True
):
    """Write an MSA metafile.

    Parameters
    ----------
    path : str or pathlib.Path
        The file; it is replaced in one go.
    slitlets : sequence of Slitlet
        All slitlets; they are open at every dither point.
    n_dithers : int
        Number of dither points (exposures), as ``PATT_NUM`` counts them from 1.
    metadata_id : int
        As the exposures' ``MSAMETID``.
    program : int
        Number of the programme.
    visit : str
        Observation and visit, ``ooovvv``.
    nuisance : bool
        As the ground system of a slit-stepping programme has it: every shutter beside the source's
        carries a negative id of its own, of a virtual source that is background. Otherwise these
        shutters carry 0, the id of plain background.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        If a slitlet leaves its quadrant, if slitlets share a shutter, a number or a source name
        with two places, or if a number does not fit its column.
    """
    path = Path(path)
    _check(slitlets, n_dithers, metadata_id, path.name)
    background = _background_ids(slitlets) if nuisance else {}
    primary = fits.PrimaryHDU()
    primary.header.update(_primary_keywords(path.name, program, visit, metadata_id))
    hdus = fits.HDUList(
        [
            primary,
            fits.ImageHDU(_shutter_image(slitlets), name="SHUTTER_IMAGE"),
            _shutter_table(slitlets, background, n_dithers, metadata_id),
            _source_table(slitlets, background, program),
        ]
    )
    with replace_whole(path) as temporary:
        hdus.writeto(temporary, overwrite=True)
    return path


def _check(slitlets, n_dithers, metadata_id, file):
    if not slitlets:
        raise InputError("there is no slitlet; give at least one", file)
    if not 1 <= n_dithers < 2**15 or not 1 <= metadata_id < 2**15:
        raise InputError(
            f"{n_dithers} dither points or metadata id {metadata_id} do not fit a 16-bit column; "
            "use numbers from 1 to 32767", file
        )  # fmt: skip
    for slitlet in slitlets:
        _check_slitlet(slitlet, file)
    numbers = Counter(slitlet.slitlet_id for slitlet in slitlets)
    shutters = Counter(shutter for slitlet in slitlets for shutter in _shutters(slitlet))
    for what, counts in (("slitlet id", numbers), ("shutter (quadrant, x, y)", shutters)):
        if counts.most_common(1)[0][1] > 1:
            raise InputError(f"two slitlets have {what} {counts.most_common(1)[0][0]}", file)
    sources = {}
    for slitlet in slitlets:
        known = sources.setdefault(slitlet.source_id, _source(slitlet))
        if known != _source(slitlet):
            raise InputError(f"source id {slitlet.source_id} is given to two sources", file)


def _check_slitlet(slitlet, file):
    columns = slitlet.columns
    inside = (
        slitlet.quadrant in QUADRANT_PLACES
        and 1 <= slitlet.x <= SHUTTERS_ACROSS
        and slitlet.n_shutters >= 1
        and columns[0] >= 1
        and columns[-1] <= SHUTTERS_ALONG
    )
    if not inside:
        raise InputError(
            f"its {slitlet.n_shutters} shutters at quadrant {slitlet.quadrant}, x {slitlet.x}, "
            f"y {slitlet.y} leave the quadrant of {SHUTTERS_ACROSS} x {SHUTTERS_ALONG} shutters; "
            "move or shorten it", file, str(slitlet.slitlet_id)
        )  # fmt: skip
    if not (1 <= slitlet.slitlet_id < 2**15 and 1 <= slitlet.source_id < 2**31):
        raise InputError(
            f"its number or its source id {slitlet.source_id} does not fit the column; use slitlet "
            "ids from 1 to 32767 and source ids from 1 to 2147483647",
            file, str(slitlet.slitlet_id)
        )  # fmt: skip
    if len(slitlet.source_name) > 20 or len(slitlet.alias) > 31:
        raise InputError(
            "the source's name has more than 20 letters or its alias more than 31; shorten it",
            file, str(slitlet.slitlet_id)
        )  # fmt: skip


def _shutters(slitlet):
    return [(slitlet.quadrant, slitlet.x, column) for column in slitlet.columns]


def _source(slitlet):
    return slitlet.source_name, slitlet.alias, slitlet.ra, slitlet.dec, slitlet.stellarity


def _background_ids(slitlets):
    """Give a negative id to every shutter beside the sources', by (slitlet, column)."""
    beside = [
        (slitlet.slitlet_id, column)
        for slitlet in slitlets
        for column in slitlet.columns
        if column != slitlet.y
    ]
    return {place: -number for number, place in enumerate(beside, 1)}


def _primary_keywords(name, program, visit, metadata_id):
    return {
        "ORIGIN": ("msa3d_simulate", "made by a simulation"),
        "TELESCOP": ("JWST", "telescope used to acquire data"),
        "INSTRUME": ("NIRSPEC", "instrument used to acquire data"),
        "FILENAME": (name, "name of file"),
        "PROGRAM": (f"{program:05d}", "program number"),
        "OBSERVTN": (visit[:3], "observation number"),
        "VISIT": (visit[3:], "visit number"),
        "VISIT_ID": (f"{program:05d}{visit}", "visit identifier"),
        "MSACFG10": (metadata_id, "configuration id, base 10"),
        "MSACFG36": (np.base_repr(metadata_id, 36).zfill(2).lower(), "the same, base 36"),
    }


def _shutter_image(slitlets):
    """Open shutters as 1, shape ``(730, 342)``: two by two quadrants."""
    image = np.zeros((2 * SHUTTERS_ACROSS, 2 * SHUTTERS_ALONG), dtype=np.float32)
    for slitlet in slitlets:
        across, along = QUADRANT_PLACES[slitlet.quadrant]
        columns = slice(slitlet.columns[0] - 1, slitlet.columns[-1])
        half = image[across * SHUTTERS_ACROSS :, along * SHUTTERS_ALONG :]
        half[slitlet.x - 1, columns] = 1
    return image


SHUTTER_COLUMNS = (
    ("slitlet_id", "I"),
    ("msa_metadata_id", "I"),
    ("shutter_quadrant", "I"),
    ("shutter_row", "I"),
    ("shutter_column", "I"),
    ("source_id", "J"),
    ("background", "1A"),
    ("shutter_state", "6A"),
    ("estimated_source_in_shutter_x", "E"),
    ("estimated_source_in_shutter_y", "E"),
    ("dither_point_index", "I"),
    ("primary_source", "1A"),
    ("fixed_slit", "8A"),
)


def _shutter_table(slitlets, background, n_dithers, metadata_id):
    """Make a row per dither point, slitlet and shutter."""
    rows = []
    for dither in range(1, n_dithers + 1):
        for slitlet in slitlets:
            for column in slitlet.columns:
                place = (
                    slitlet.slitlet_id, metadata_id, slitlet.quadrant, slitlet.x, column
                )  # fmt: skip
                if column == slitlet.y:
                    what = (slitlet.source_id, "N", "OPEN", slitlet.source_x, slitlet.source_y)
                    rows.append((*place, *what, dither, "Y", "NONE"))
                else:
                    number = background.get((slitlet.slitlet_id, column), 0)
                    what = (number, "Y", "OPEN", np.nan, np.nan)
                    rows.append((*place, *what, dither, "N", "NONE"))
    return _table("SHUTTER_INFO", SHUTTER_COLUMNS, rows)


SOURCE_COLUMNS = (
    ("program", "J"),
    ("source_id", "J"),
    ("source_name", "20A"),
    ("alias", "31A"),
    ("ra", "D"),
    ("dec", "D"),
    ("preimage_id", "30A"),
    ("stellarity", "D"),
)


def _source_table(slitlets, background, program):
    """Make a row per source, and one per virtual source of the background shutters."""
    real = {slitlet.source_id: _source(slitlet) for slitlet in slitlets}
    place = {slitlet.slitlet_id: (slitlet.ra, slitlet.dec) for slitlet in slitlets}
    rows = [
        (program, number, name, alias, ra, dec, "None", stellarity)
        for number, (name, alias, ra, dec, stellarity) in real.items()
    ]
    rows += [
        (program, number, f"{program}_{number}", str(number), *place[slitlet_id], "None", 0.0)
        for (slitlet_id, _), number in background.items()
    ]
    return _table("SOURCE_INFO", SOURCE_COLUMNS, rows)


def _table(name, columns, rows):
    filled = zip(*rows, strict=True)
    return fits.BinTableHDU.from_columns(
        [
            fits.Column(name=column, format=form, array=np.array(values))
            for (column, form), values in zip(columns, filled, strict=True)
        ],
        name=name,
    )
