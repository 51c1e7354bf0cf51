"""Files that are there whole or not at all."""

import os
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

__all__ = ["refuse_truncated", "replace_whole"]


@contextmanager
def refuse_truncated():
    """Make an error of astropy's warning that a FITS file is cut short.

    Raises
    ------
    astropy.utils.exceptions.AstropyUserWarning
        Where such a file is opened.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="File may have been truncated")
        yield


@contextmanager
def replace_whole(path):
    """Write a file beside its place; move it there when all went well.

    Parameters
    ----------
    path : str or pathlib.Path
        Where the file shall be.

    Yields
    ------
    pathlib.Path
        Where to write it: an empty file in the same folder, with the same ending.
    """
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
