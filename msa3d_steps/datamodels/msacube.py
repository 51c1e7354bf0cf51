"""The spectral cube of one source."""

import numpy as np
from scipy import sparse
from stdatamodels.jwst.datamodels import IFUCubeModel

from msa3d_steps.cube.correlation import sum_factor
from msa3d_steps.datamodels.saving import WholeFile

__all__ = ["MSACubeModel"]


class MSACubeModel(WholeFile, IFUCubeModel):
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
        dither (from 0), offsets across and along the slit (arcsec), its position angle, the place
        of the middle of its lit part (degrees), width and length of that (arcsec), exposure time
        (s), number of pixels used and rejected (extension ``EXPOSURES``).
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
    stock_name = "IFUCubeModel"

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
        return sum_factor(table, n_spaxels, n_channels)

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

    @property
    def wavelengths(self):
        """Middles of the channels, um, shape ``(n_wave,)``."""
        return np.asarray(self.wavetable["wavelength"], float).ravel()
