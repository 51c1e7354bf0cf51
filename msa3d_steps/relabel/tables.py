"""The tables of an MSA metafile, repaired slitlet by slitlet."""

from dataclasses import dataclass

import numpy as np
from jwst.assign_wcs.nirspec import FIXED_SLIT_NUMS

from msa3d_steps.relabel.slitlets import (
    Slitlet,
    UnclearError,
    is_in_one_place,
    nearest_dither,
    repair_slitlet,
    text,
    widen,
)
from msa3d_steps.relabel.source_ids import recover_catalogue_ids, recover_ids

__all__ = ["SHUTTER_COLUMNS", "SOURCE_COLUMNS", "Repair", "repair"]

SHUTTER_COLUMNS = (
    "slitlet_id", "msa_metadata_id", "shutter_quadrant", "shutter_row", "shutter_column",
    "source_id", "background", "shutter_state", "estimated_source_in_shutter_x",
    "estimated_source_in_shutter_y", "dither_point_index", "primary_source",
)  # fmt: skip
"""Columns of ``SHUTTER_INFO`` that are needed; ``fixed_slit`` may be missing."""

SOURCE_COLUMNS = ("source_id", "source_name", "ra", "dec")
"""Columns of ``SOURCE_INFO`` that are needed."""


@dataclass(frozen=True)
class Repair:
    """What was done to one slitlet under one metadata id.

    Parameters
    ----------
    metadata_id, slitlet_id : int
        As the file had them.
    source_ids : tuple of int
        Its galaxies; none for background.
    changed, added, removed : int
        Rows of the table, one for each shutter and dither point.
    warnings : tuple of str
        What a user should know.
    problem : str or None
        Why the slitlet was left out.
    """

    metadata_id: int
    slitlet_id: int
    source_ids: tuple
    changed: int = 0
    added: int = 0
    removed: int = 0
    warnings: tuple = ()
    problem: str | None = None


def repair(shutters, sources, dither_points=None):
    """Give every shutter of a slitlet to its galaxy, at every dither point.

    Metadata ids are repaired each on its own; rows of fixed slits stay as they are. A table that
    needs no repair comes back as it was, but with source ids of 32 bits.

    Parameters
    ----------
    shutters : structured ndarray, shape ``(n,)``
        Table ``SHUTTER_INFO``; see `SHUTTER_COLUMNS`.
    sources : structured ndarray, shape ``(m,)``
        Table ``SOURCE_INFO``; see `SOURCE_COLUMNS`.
    dither_points : dict of {int: iterable of int}, optional
        Dither points that a metadata id must have, beside those between its first and its last.

    Returns
    -------
    shutters : structured ndarray
        The rows in their order, then those that were added.
    sources : structured ndarray, shape ``(m,)``
        The sources.
    repairs : tuple of Repair
        One for each slitlet that was changed, or that there is something to say about.
    """
    wide_sources = widen(sources, "source_id")
    wide_sources["source_id"] = recover_catalogue_ids(sources["source_id"], sources["source_name"])
    original = widen(shutters, "source_id")
    msa = ~_on_fixed_slit(shutters)
    ids, *losses = recover_ids(shutters["source_id"][msa], wide_sources["source_id"])
    table = original.copy()
    table["source_id"][msa] = ids
    catalogue = _catalogue(wide_sources)
    anywhere = _galaxies_of_slitlets(table[msa])
    out, keep, added, repairs = original.copy(), np.ones(len(original), bool), [], []
    next_id = int(original["slitlet_id"][msa].max(initial=0)) + 1
    for metadata_id in np.unique(original["msa_metadata_id"][msa]).tolist():
        mine = original["msa_metadata_id"] == metadata_id
        dithers = _all_dithers(table[mine], (dither_points or {}).get(metadata_id, ()))
        of_id, new = np.flatnonzero(mine & msa), []
        numbers = original["slitlet_id"][of_id]
        for slitlet_id in np.unique(numbers).tolist():
            rows = of_id[numbers == slitlet_id]
            galaxies = tuple(_galaxies(table[rows]))
            words = _say_losses(galaxies, original["source_id"][rows], *losses)
            words += _say_unknown(galaxies, catalogue)
            words += _say_elsewhere(galaxies, anywhere.get(slitlet_id, ()), metadata_id)
            try:
                if not is_in_one_place(table[rows], galaxies):
                    continue
                slitlet = _grid(table, rows, dithers)
                repaired, more = repair_slitlet(slitlet, galaxies, catalogue, next_id)
            except UnclearError as err:
                keep[rows] = False
                repairs.append(
                    Repair(metadata_id, slitlet_id, galaxies, 0, 0, len(rows), words, str(err))
                )
                continue
            if more:
                next_id += len(galaxies) - 1
                out = widen(out, "slitlet_id") if next_id > 2**15 else out
            present = slitlet.index >= 0
            doubled = np.setdiff1d(rows, slitlet.index[present])
            keep[doubled] = False
            changed = _differ(repaired[present], original[slitlet.index[present]])
            out[slitlet.index[present]] = repaired[present]
            new.append(repaired[~present])
            done = Repair(
                metadata_id, slitlet_id, galaxies,
                int(changed.sum()), len(new[-1]), len(doubled), words + more,
            )  # fmt: skip
            if done.changed or done.added or done.removed or done.warnings:
                repairs.append(done)
        new = np.concatenate(new) if new else original[:0]
        added.append(new[np.argsort(new["dither_point_index"], kind="stable")])
    shutters = np.concatenate([out[keep], *added]).astype(out.dtype)
    return shutters, wide_sources, tuple(repairs)


def _on_fixed_slit(shutters):
    if "fixed_slit" not in shutters.dtype.names:  # files of early cycles
        return np.zeros(len(shutters), bool)
    return np.isin(
        text(shutters["fixed_slit"]), [name for name in FIXED_SLIT_NUMS if name != "NONE"]
    )


def _catalogue(sources):
    """Places of the sources: right ascension and declination in degrees, by id."""
    return {
        int(number): (float(ra), float(dec))
        for number, ra, dec in zip(sources["source_id"], sources["ra"], sources["dec"], strict=True)
    }


def _all_dithers(table, more):
    """List the dither points of a metadata id without gaps, and those that it must have."""
    given = table["dither_point_index"]
    return np.union1d(np.arange(given.min(), given.max() + 1), np.array([*more], int))


def _grid(table, rows, dithers):
    """Order the rows of a slitlet by dither point and shutter, and fill the gaps."""
    columns, column = np.unique(table["shutter_column"][rows], return_inverse=True)
    dither = np.searchsorted(dithers, table["dither_point_index"][rows])
    index = np.full((len(dithers), len(columns)), -1)
    place, first = np.unique(dither * len(columns) + column, return_index=True)
    index.flat[place] = rows[first]  # of rows that are doubled the first
    origin = index.copy()
    for j in range(len(columns)):
        origin[:, j] = origin[nearest_dither(dithers, index[:, j] >= 0), j]
    filled = table[origin]
    filled["dither_point_index"] = dithers[:, None]
    return Slitlet(filled, index)


def _galaxies(rows):
    return np.unique(rows["source_id"][rows["source_id"] > 0]).tolist()


def _say_losses(galaxies, given, recovered, doubtful):
    """Put into words which source ids had lost digits."""
    words = [
        f"source id {recovered[galaxy]} is {galaxy}, cut to 16 bits"
        for galaxy in galaxies
        if galaxy in recovered
    ]
    for number in np.unique(given).tolist():
        if number in doubtful:
            others = " or ".join(map(str, doubtful[number]))
            words.append(f"source id {number} may be {others}; it is taken as {number}")
    return tuple(words)


def _say_unknown(galaxies, catalogue):
    return tuple(
        f"galaxy {galaxy} is not in SOURCE_INFO: it will have no name and no place on the sky"
        for galaxy in galaxies
        if galaxy not in catalogue
    )


def _galaxies_of_slitlets(table):
    """List the galaxies of each slitlet under any metadata id."""
    pairs = np.unique(table[["slitlet_id", "source_id"]])
    found = {}
    for slitlet_id, source_id in pairs[pairs["source_id"] > 0].tolist():
        found.setdefault(slitlet_id, []).append(source_id)
    return found


def _say_elsewhere(galaxies, others, metadata_id):
    """Put into words that a slitlet without a galaxy has one under another metadata id."""
    if galaxies or not others:
        return ()
    named = " and ".join(map(str, others))
    return (
        f"has no galaxy under metadata id {metadata_id}, though {named} under others; it stays "
        "background or virtual",
    )


def _differ(rows, others):
    """Tell which rows differ; NaN is like NaN."""
    differ = np.zeros(len(rows), bool)
    for name in others.dtype.names:
        a, b = rows[name], others[name]
        same = (a == b) | ((a != a) & (b != b))
        differ |= ~same
    return differ
