"""Files that are there whole or not at all."""

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

__all__ = ["replace_whole"]


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
