"""Models whose files are there whole or not at all."""

import os
import uuid
from pathlib import Path

__all__ = ["WholeFile"]


class WholeFile:
    """What a data model inherits from, before its model class, to be saved whole or not at all.

    Attributes
    ----------
    stock_name : str
        Name of the class in files; stock software opens only models that it knows.
    """

    stock_name = "JwstDataModel"

    @property
    def _model_type(self):
        """Name of the class in files."""
        return self.stock_name

    def on_init(self, init):
        """Keep the class name that stock software knows.

        Parameters
        ----------
        init : object
            First argument of the constructor.
        """
        super().on_init(init)
        self.meta.model_type = self.stock_name

    def save(self, path, dir_path=None, *args, **kwargs):
        """Write the file whole or not at all.

        Parameters
        ----------
        path : str or callable
            Path of the file, or a function that makes it from ``meta.filename``.
        dir_path : str, optional
            Directory that takes the place of that in `path`.
        *args, **kwargs
            Passed on to the writer.

        Returns
        -------
        str
            The path of the file.
        """
        path = Path(path(self.meta.filename) if callable(path) else path)
        path = Path(dir_path) / path.name if dir_path else path
        part = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
        self._final_name = path.name
        try:
            super().save(str(part), None, *args, **kwargs)
            os.replace(part, path)  # noqa: PTH105 - atomic, and over an older file
        finally:
            part.unlink(missing_ok=True)
            del self._final_name
        return str(path)

    def on_save(self, init):
        """Set the name of the file that the product will have in the end.

        Parameters
        ----------
        init : str
            The path that is written.
        """
        super().on_save(init)
        self.meta.filename = getattr(self, "_final_name", self.meta.filename)
