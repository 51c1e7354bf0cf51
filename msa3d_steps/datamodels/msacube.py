"""The spectral cube of one source."""

import os
import uuid
from pathlib import Path

import numpy as np
from scipy import sparse
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
        Number of exposures that contributed, int16.
    wavetable : numpy.ndarray
        Middles of the channels, um (extension ``WCS-TABLE``).
    exposure_table : numpy.ndarray
        One row for each cutout that was used: file, slit, detector, exposure, visit, step and
        dither (from 0), offsets across and along the slit (arcsec), its position angle (degrees),
        exposure time (s), number of pixels used and rejected (extension ``EXPOSURES``).
    correlation_table : numpy.ndarray
        For square apertures of `spaxels` on a side and sums over `channels`: `factor`, the error of
        the sum over the sum of ERR in quadrature, its `spread` from aperture to aperture, and
        the number of `apertures` that were looked at (extension ``CORRELATION``).
    covariance : list
        Covariances of the channels that were asked for; `covariance_matrix` gives them.
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

    def correlation_factor(self, n_spaxels, n_channels=1):
        """Give what the error of a sum is over the sum of ERR in quadrature.

        Between the sizes of the table it is interpolated, in the side of a square of as many
        spaxels and in the logarithm of the number of channels. Beyond the largest it is that of
        the largest, to which it tends.

        Parameters
        ----------
        n_spaxels : float
            Number of spaxels of the aperture, which should be about as wide as high.
        n_channels : int
            Number of channels that are summed.

        Returns
        -------
        float
            The factor.

        Raises
        ------
        ValueError
            Where the cube has no table.
        """
        table = self.correlation_table
        if table is None or not len(table):
            raise ValueError("the cube has no CORRELATION table; build it again")
        numbers = np.unique(table["channels"])
        factors = []
        for number in numbers:
            rows = table[table["channels"] == number]
            factors.append(np.interp(np.sqrt(n_spaxels), rows["spaxels"], rows["factor"]))
        return float(np.interp(np.log(n_channels), np.log(numbers), factors))

    def covariance_matrix(self, channel):
        """Give the covariance of the spaxels of a channel.

        Parameters
        ----------
        channel : int
            0-based channel, one of those that `covariance` has.

        Returns
        -------
        scipy.sparse.csr_array
            Shape ``(ny * nx, ny * nx)``, (MJy/sr)^2; the index of a spaxel is ``y * nx + x``.

        Raises
        ------
        ValueError
            Where the cube has no covariance of this channel.
        """
        for entry in self.covariance or ():
            if entry.channel == channel:
                n = self.shape[1] * self.shape[2]
                row, column, value = (np.asarray(a) for a in (entry.row, entry.column, entry.value))
                other = row != column
                row, column = np.append(row, column[other]), np.append(column, row[other])
                value = np.append(value, value[other]).astype(float)
                return sparse.csr_array((value, (row, column)), shape=(n, n))
        has = [entry.channel for entry in self.covariance or ()]
        raise ValueError(
            f"there is no covariance of channel {channel} (there is of {has}); build the cube with "
            "covariance=true and covariance_wave"
        )

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
