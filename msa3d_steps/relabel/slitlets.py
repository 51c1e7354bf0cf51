"""One slitlet of an MSA metafile: whose its shutters are.

What jwst reads of a slitlet at a dither point (``get_open_msa_slits`` in
``jwst/assign_wcs/nirspec.py``): its shutters are the rows there are; one of them is primary, and
its source id is that of the slitlet, or there is none and the slitlet is background; the first row
that is not background gives the place that everything else is counted from.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from astropy.coordinates import angular_separation

__all__ = [
    "Slitlet",
    "UnclearError",
    "is_in_one_place",
    "nearest_dither",
    "repair_slitlet",
    "text",
    "widen",
]

PITCH = (0.27, 0.53)
"""Distance of the shutters across and along the slits, arcsec (JWST User Documentation, MSA)."""

SHARE_MARGIN = 0.05
"""A shutter belongs to the nearer of two galaxies if it is nearer by this, in shutters."""

X, Y = "estimated_source_in_shutter_x", "estimated_source_in_shutter_y"


class UnclearError(Exception):
    """Whose a shutter is cannot be told."""


@dataclass(frozen=True)
class Slitlet:
    """A slitlet under one metadata id, as a grid of dither points and shutters.

    Parameters
    ----------
    rows : structured ndarray, shape ``(n_dithers, n_shutters)``
        Rows of the table; where the file has none, that of the nearest dither point.
    index : ndarray of int, shape ``(n_dithers, n_shutters)``
        Where the rows are in the table, -1 where the file has none.
    """

    rows: np.ndarray
    index: np.ndarray

    @property
    def columns(self):
        """Shutters along the slit, shape ``(n_shutters,)``."""
        return self.rows["shutter_column"][0].astype(int)

    def named(self, galaxy):
        """Tell where the file names a galaxy."""
        return (self.index >= 0) & (self.rows["source_id"] == galaxy)


def is_in_one_place(rows, galaxies):
    """Tell whether the shutters of a slitlet are one above the other, as a galaxy's must be."""
    places = np.unique(rows[["shutter_quadrant", "shutter_row"]]).tolist()
    if len(places) > 1 and galaxies:
        named = " and ".join(f"quadrant {quadrant}, row {row}" for quadrant, row in places)
        raise UnclearError(
            f"its shutters are in {named}, but a slitlet has one place across; give each place a "
            "slitlet_id of its own in SHUTTER_INFO"
        )
    return len(places) == 1


def repair_slitlet(slitlet, galaxies, catalogue, next_id):
    """Repair one slitlet; returns its rows and a warning if it had to be parted."""
    repaired = slitlet.rows.copy()
    if not galaxies:
        _mend_background(repaired)
        return repaired, ()
    if len(galaxies) == 1:
        _give(repaired, slitlet, galaxies[0])
        return repaired, ()
    parts = _share(slitlet, galaxies, catalogue)
    if next_id > 2**15 - 1:
        repaired = _widen_grid(repaired)
    words = []
    for number, (galaxy, own) in enumerate(parts.items()):
        part = repaired[:, own]
        _give(part, Slitlet(slitlet.rows[:, own], slitlet.index[:, own]), galaxy)
        if number:
            part["slitlet_id"] = next_id + number - 1
        repaired[:, own] = part
        columns = part["shutter_column"][0]
        words.append(
            f"galaxy {galaxy} has shutters {columns[0]} to {columns[-1]} as slitlet "
            f"{part['slitlet_id'][0, 0]}"
        )
    return repaired, (f"has {len(galaxies)} galaxies and was parted: {'; '.join(words)}",)


def widen(table, column):
    """Copy a table, with one column of at least 32 bits."""
    types = [
        (name, np.promote_types(table.dtype[name], np.int32)) if name == column
        else (name, table.dtype[name])
        for name in table.dtype.names
    ]  # fmt: skip
    wide = np.empty(len(table), types)
    for name in table.dtype.names:
        wide[name] = table[name]
    return wide


def _widen_grid(rows):
    return widen(rows.ravel(), "slitlet_id").reshape(rows.shape)


def _mend_background(rows):
    """Leave a slitlet without a galaxy as it is, but so that jwst can read it."""
    _open(rows)
    primary = text(rows["primary_source"]) == "Y"
    primary &= np.cumsum(primary, axis=1) == 1  # one at most
    rows["primary_source"] = np.where(primary, "Y", "N")
    virtual = primary.any(axis=1, keepdims=True)
    rows["background"] = np.where(
        virtual, np.where(primary, "N", "Y"), text(rows["background"])
    )  # fmt: skip


def _open(rows):
    """Shutters stay open: one that is open at any dither point is so at all."""
    is_open = (text(rows["shutter_state"]) == "OPEN").any(axis=0)
    rows["shutter_state"][:, is_open] = "OPEN"


def _give(rows, slitlet, galaxy):
    """Give all shutters of a grid of rows to a galaxy (in place)."""
    own = _own_shutter(slitlet, galaxy)
    place = _place_in_shutter(slitlet, galaxy, own)
    _open(rows)
    beside = np.arange(rows.shape[1]) != own
    rows["source_id"] = galaxy
    rows["background"] = np.where(beside, "Y", "N")
    rows["primary_source"] = np.where(beside, "N", "Y")
    for name, values in zip((X, Y), place, strict=True):
        rows[name] = np.where(beside, np.nan, values[:, None])


def _own_shutter(slitlet, galaxy):
    """Find the shutter that a galaxy is in, the same at all dither points.

    Most often the primary one with its id; else most often the one with its id; else that with a
    place in the shutter; else the one nearest to the middle.
    """
    named = slitlet.named(galaxy)
    primary = named & (text(slitlet.rows["primary_source"]) == "Y")
    known = named & _is_known(slitlet.rows)
    columns = slitlet.columns
    from_middle = np.abs(columns - (columns[0] + columns[-1]) // 2)
    return max(
        np.flatnonzero(named.any(axis=0)),
        key=lambda j: (primary[:, j].sum(), named[:, j].sum(), known[:, j].sum(), -from_middle[j]),
    )


def _is_known(rows):
    return np.isfinite(rows[X]) & np.isfinite(rows[Y])


def _place_in_shutter(slitlet, galaxy, own):
    """Estimate where a galaxy is in its own shutter at every dither point.

    Where the file says it for another shutter, that is moved; where it says nothing, it is the
    place at the nearest dither point.

    Returns
    -------
    x, y : ndarray, shape ``(n_dithers,)``
        In units of the pitch of the shutters; 0.5, the centre, if nothing is known at all.
    """
    rows = slitlet.rows
    known = slitlet.named(galaxy) & _is_known(rows)
    if not known.any():
        return np.full((2, len(rows)), 0.5)
    # its own shutter first, then the nearest one
    order = np.argsort(np.abs(np.arange(rows.shape[1]) - own), kind="stable")
    shutter = order[np.argmax(known[:, order], axis=1)]
    dither = np.arange(len(rows))
    x, y = rows[X][dither, shutter], rows[Y][dither, shutter].astype(float)
    y = y + slitlet.columns[shutter] - slitlet.columns[own]
    nearest = nearest_dither(rows["dither_point_index"][:, 0].astype(int), known.any(axis=1))
    return x[nearest], y[nearest]


def nearest_dither(dithers, there):
    """Find for every dither point the nearest one that is there; the earlier of two."""
    places = np.flatnonzero(there)
    return places[np.argmin(np.abs(dithers[:, None] - dithers[places]), axis=1)]


def _share(slitlet, galaxies, catalogue):
    """Share the shutters of a slitlet out to its galaxies.

    Returns
    -------
    dict of {int: ndarray of int}
        Which shutters a galaxy has. The first galaxy keeps the slitlet's number.
    """
    who = f"galaxies {' and '.join(map(str, galaxies))} are in it"
    mend = "give each its own slitlet_id in SHUTTER_INFO"
    columns = slitlet.columns
    named = np.array([slitlet.named(galaxy).any(axis=0) for galaxy in galaxies])
    if (named.sum(axis=0) > 1).any():
        both = ", ".join(str(c) for c in columns[named.sum(axis=0) > 1])
        raise UnclearError(f"{who}, and shutter {both} is given to more than one; {mend}")
    place = np.array([_place_in_slitlet(slitlet, galaxy) for galaxy in galaxies])
    _check_catalogue(galaxies, place, catalogue, f"{who}, but", mend)
    distance = np.abs(columns - place[:, 1:])
    distance[:, named.any(axis=0)] = np.inf
    distance[named] = 0
    first, second = np.sort(distance, axis=0)[:2]
    unclear = columns[second - first < SHARE_MARGIN]
    if len(unclear):
        raise UnclearError(f"{who}, and shutter {unclear[0]} is as near to either; {mend}")
    owner = np.argmin(distance, axis=0)
    if np.count_nonzero(np.diff(owner)) != len(galaxies) - 1:
        raise UnclearError(f"{who}, and their shutters are mixed; {mend}")
    return {galaxy: np.flatnonzero(owner == number) for number, galaxy in enumerate(galaxies)}


def _place_in_slitlet(slitlet, galaxy):
    """Mean place of a galaxy: across in shutters, along as a shutter column."""
    own = _own_shutter(slitlet, galaxy)
    x, y = _place_in_shutter(slitlet, galaxy, own)
    return np.mean(x) - 0.5, slitlet.columns[own] + np.mean(y) - 0.5


def _check_catalogue(galaxies, place, catalogue, who, mend):
    """Make sure that the galaxies are as far apart as the catalogue has them."""
    for (one, a), (other, b) in combinations(zip(galaxies, place, strict=True), 2):
        if one not in catalogue or other not in catalogue:
            continue
        (ra, dec), (ra2, dec2) = np.radians([catalogue[one], catalogue[other]])
        apart = np.degrees(angular_separation(ra, dec, ra2, dec2)) * 3600
        in_msa = np.hypot(*((a - b) * PITCH))
        if abs(apart - in_msa) > PITCH[1]:
            raise UnclearError(
                f"{who} they are {apart:.2f} arcsec apart in SOURCE_INFO and {in_msa:.2f} in the "
                f"slitlet; correct the source ids or {mend}"
            )


def text(column):
    """Read a column as text, whether it is bytes or text."""
    return np.char.strip(column.astype(str))
