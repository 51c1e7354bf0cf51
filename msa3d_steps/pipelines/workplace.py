"""Where a run keeps what it needs to go on after a stop: reports, cutouts, logs."""

import errno
import logging
import os
import shutil
from contextlib import contextmanager
from pathlib import Path

from msa3d_steps.errors import InputError

try:
    import fcntl
except ImportError:  # not on this system
    fcntl = None

__all__ = ["LINE", "Workplace", "keep"]

LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""How a line of a log looks."""


def keep(folder, output_dir):
    """Move whole products to their place.

    Parameters
    ----------
    folder : pathlib.Path
        Where they were made, on the same disk.
    output_dir : str or pathlib.Path
        Where they go.

    Returns
    -------
    list of pathlib.Path
        Where they are.
    """
    return [path.replace(Path(output_dir) / path.name) for path in folder.iterdir()]


class Workplace:
    """The folder of a run.

    Parameters
    ----------
    folder : str or pathlib.Path
        The folder.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    def report(self, part):
        """Report of a part, JSON."""
        return self.folder / "reports" / f"{part.name}.json"

    def cutouts(self, name):
        """Cutouts of an exposure part."""
        return self.folder / "cutouts" / f"{name}.cutouts"

    def log(self, part):
        """Everything that was logged while a part was made."""
        return self.folder / "logs" / f"{part.name}.log"

    @property
    def summary(self):
        """The table at the end."""
        return self.folder / "summary.ecsv"

    @property
    def parameters(self):
        """All parameters of the run, as stpipe writes them."""
        return self.folder / "parameters.asdf"

    def size(self):
        """Size of all cutouts, bytes."""
        return sum(path.stat().st_size for path in self.folder.glob("cutouts/*"))

    def prepare(self):
        """Make the folders and remove what an earlier run left unfinished."""
        for name in ("reports", "cutouts", "logs", "unfinished"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        for path in (*self.folder.glob("unfinished/*"), *self.folder.glob("*/.*")):
            if path.is_dir():  # workers of a run that was killed may still be about to end
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def drop_cutouts(self):
        """Remove what is needed during the run only."""
        for name in ("cutouts", "unfinished"):
            shutil.rmtree(self.folder / name, ignore_errors=True)

    @contextmanager
    def unfinished(self, part):
        """Give a folder for the products of a part until they are whole.

        Parameters
        ----------
        part : ExposurePart, SourcePart or PicturePart
            The part.

        Yields
        ------
        pathlib.Path
            An empty folder on the disk of the products.
        """
        folder = self.folder / "unfinished" / f"{part.name}-{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def logged(self, names):
        """Keep what a run says of itself, after what earlier runs said.

        Parameters
        ----------
        names : sequence of str
            Loggers.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(self.folder / "run.log", encoding="utf-8")
        handler.setFormatter(logging.Formatter(LINE))
        loggers = [logging.getLogger(name) for name in names]
        for logger in loggers:
            logger.addHandler(handler)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeHandler(handler)
            handler.close()

    @contextmanager
    def claim(self):
        """Keep other runs out of the folder.

        Raises
        ------
        InputError
            Where another run is at work in it.
        """
        if fcntl is None:
            yield
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as err:
                if err.errno in (errno.EWOULDBLOCK, errno.EACCES):
                    raise InputError(
                        "another run is at work in this folder; wait for it, or choose another "
                        "with --output_dir",
                        str(self.folder),
                    ) from None
                # a disk without locks: go on as if alone
            yield
