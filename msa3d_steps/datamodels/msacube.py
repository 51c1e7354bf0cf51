"""The spectral cube of one source."""

import os
import uuid
from pathlib import Path

import numpy as np
from stdatamodels.jwst.datamodels import IFUCubeModel

__all__ = ["MSACubeModel"]


class MSACubeModel(IFUCubeModel):
    """A spectral cube made of slit-stepping exposures.

    Files say that they hold an ``IFUCubeModel``, so that stock software opens them; opened as an
    ``MSACubeModel`` they give everything.

    Attributes
    ----------
    data : numpy.ndarray
        Surface brightness, MJy/sr, float32, shape ``(n_wave, ny, nx)``; NaN without coverage.
    err : numpy.ndarray
        Its standard deviation, MJy/sr, float32.
    dq : numpy.ndarray
        Data quality, uint32: ``DO_NOT_USE | NON_SCIENCE`` without coverage, else 0.
    weightmap : numpy.ndarray
        Sum of the weights of the pixels times the parts of the voxel that they cover, float32.
    etime : numpy.ndarray
        Exposure time averaged over the voxel, s, float32.
    nexp : numpy.ndarray
        Number of cutouts that contributed, int16.
    wavetable : numpy.ndarray
        Middles of the channels, um (extension ``WCS-TABLE``).
    exposure_table : numpy.ndarray
        One row for each cutout that was used: file, slit, detector, exposure, visit, step and
        dither (from 0), offsets across and along the slit (arcsec), exposure time (s), number of
        pixels used and rejected (extension ``EXPOSURES``).
    hdrtab : numpy.ndarray
        Metadata of all exposures, a row for each.
    """

    schema_url = "asdf://msa3d-steps.org/schemas/datamodels/msacube.schema"

    @property
    def _model_type(self):
        """Name of the class in files; stock software opens only models that it knows."""
        return "IFUCubeModel"

    def on_init(self, init):
        """Keep the class name that stock software knows.

        Parameters
        ----------
        init : object
            First argument of the constructor.
        """
        super().on_init(init)
        self.meta.model_type = self._model_type

    def save(self, path, dir_path=None, *args, **kwargs):
        """Write the cube whole or not at all.

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
        """Set the name of the file that the cube will have in the end.

        Parameters
        ----------
        init : str
            The path that is written.
        """
        super().on_save(init)
        self.meta.filename = getattr(self, "_final_name", self.meta.filename)

    @property
    def wavelengths(self):
        """Middles of the channels, um, shape ``(n_wave,)``."""
        return np.asarray(self.wavetable["wavelength"], float).ravel()
