"""Numbers and lists in words."""

from itertools import pairwise

from msa3d_steps.words import counted

MANY = 4
"""Names that are listed before the rest is only counted."""

__all__ = ["folders_of", "listed", "ranges", "some_of"]


def listed(counts):
    """Word what files there are: ``G140H/F100LP: 4 files, PRISM/CLEAR: 2 files``."""
    return ", ".join(f"{name}: {counted(n, 'file')}" for name, n in sorted(counts.items()))


def ranges(numbers):
    """Word whole numbers in increasing order: ``1-3, 5``."""
    numbers = list(numbers)
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b > a + 1)]
    stops = [*(a for a, b in pairwise(numbers) if b > a + 1), numbers[-1]]
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, stops, strict=True))


def some_of(names):
    """Word names; of many only the first and how many more there are."""
    more = f" and {len(names) - MANY} more" if len(names) > MANY else ""
    return ", ".join(names[:MANY]) + more


def folders_of(files):
    """Word the folders of files."""
    return some_of(list(dict.fromkeys(str(f.parent) for f in files)))
