"""Source ids that were too wide for a 16-bit column, recovered from the catalogue."""

import re

import numpy as np

__all__ = ["recover_catalogue_ids", "recover_ids"]

LARGEST = 2**15 - 1


def recover_catalogue_ids(ids, names):
    """Recover the ids of the catalogue from the names of the sources.

    Sources are named ``<program>_<id>``; where an id is what 16 bits leave of the number in the
    name, the number is taken.

    Parameters
    ----------
    ids : ndarray of int, shape ``(n,)``
        Column ``source_id`` of ``SOURCE_INFO``.
    names : ndarray of str, shape ``(n,)``
        Column ``source_name``.

    Returns
    -------
    ndarray of int64, shape ``(n,)``
        The ids in full.
    """
    full = ids.astype(np.int64)
    if ids.dtype.itemsize > 2:
        return full
    for i, name in enumerate(np.char.strip(names.astype(str))):
        found = re.fullmatch(r"\d+_(\d{5,10})", name)
        number = int(found[1]) if found else 0
        if LARGEST < number < 2**31 and _wrapped(number) == full[i]:
            full[i] = number
    return full


def recover_ids(ids, catalogue):
    """Recover ids of shutters that a 16-bit column could not hold.

    Two ways of losing digits are known: the column keeps the lowest 16 bits; or an id of 100,000
    and more was written without its last three digits (as the published reduction of GO-2136
    does). An id that is in the catalogue is taken as it is.

    Parameters
    ----------
    ids : ndarray of int, shape ``(n,)``
        Column ``source_id`` of ``SHUTTER_INFO``.
    catalogue : ndarray of int, shape ``(m,)``
        Ids of ``SOURCE_INFO`` in full.

    Returns
    -------
    ids : ndarray of int64, shape ``(n,)``
        The ids in full where they can be known.
    recovered : dict of {int: int}
        What each recovered id was in the column, by the id in full.
    doubtful : dict of {int: list of int}
        Ids that could be one of several sources: those, by the id, which stays as it is.
    """
    full = ids.astype(np.int64)
    recovered, doubtful = {}, {}
    if ids.dtype.itemsize > 2:
        return full, recovered, doubtful
    known = set(catalogue.tolist())
    meant = {}
    for number in sorted(known):
        if number > LARGEST:
            meant.setdefault(_wrapped(number), set()).add(number)
        if number >= 100_000:
            meant.setdefault(number // 1000, set()).add(number)
    for given in np.unique(full).tolist():
        candidates = sorted(meant.get(given, ()))
        if not candidates or given == 0:
            continue
        if given in known or len(candidates) > 1:
            doubtful[given] = ([given] if given in known else []) + candidates
        else:
            full[full == given] = candidates[0]
            recovered[candidates[0]] = given
    return full, recovered, doubtful


def _wrapped(number):
    """Take the lowest 16 bits as a signed number."""
    return (number + 2**15) % 2**16 - 2**15
