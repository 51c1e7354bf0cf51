"""How neighbouring spaxels are correlated, and what that does to errors of sums."""

from dataclasses import dataclass

import numpy as np
from common import BLUE, GREY, ORANGE, lay, new_figure, save

from msa3d_steps.cube.combine import combine
from msa3d_steps.cube.correlation import correlation_table, covariance_of
from msa3d_steps.cube.grid import GridOptions

__all__ = ["Correlated", "draw", "measure"]

SCALES = (0.05, 0.1, 0.2)
WAVELENGTH = 1.3


@dataclass(frozen=True)
class Correlated:
    """Correlation of the spaxels of a channel.

    Attributes
    ----------
    scale : float
        Size of a spaxel, arcsec.
    coefficients : numpy.ndarray
        Shape ``(ny, nx)``: correlation coefficient with the spaxel in the middle; NaN outside.
    spaxels, factor : numpy.ndarray
        Side of square apertures, and the error of their sum over the sum of ERR in quadrature.
    """

    scale: float
    coefficients: np.ndarray
    spaxels: np.ndarray
    factor: np.ndarray


def measure(source, scale):
    """Compute the correlation with the spaxel in the middle of the field.

    Parameters
    ----------
    source : `~msa3d_steps.cube.sources.Source`
        The cutouts.
    scale : float
        Size of a spaxel, arcsec.

    Returns
    -------
    Correlated
        From the covariance that the cube builder gives.
    """
    cutouts = [c for c in source.cutouts if c.detector == "NRS1"]
    low, high = WAVELENGTH - 0.002, WAVELENGTH + 0.002
    options = GridOptions(scalexy=scale, wavemin=low, wavemax=high, coord_system="msaalign")
    layout = lay(cutouts, options)
    grid, err = layout.grid, combine(layout).err
    found = covariance_of(layout, grid.n_wave // 2, err[grid.n_wave // 2])
    number = grid.ny * grid.nx
    matrix = np.zeros((number, number))
    matrix[found.row, found.column] = matrix[found.column, found.row] = found.value
    middle = grid.ny // 2 * grid.nx + grid.nx // 2
    deviation = np.sqrt(matrix.diagonal())
    with np.errstate(divide="ignore", invalid="ignore"):
        row = matrix[middle] / (deviation * deviation[middle])
    single = [entry[:3] for entry in correlation_table(layout, err) if entry[1] == 1]
    spaxels, _, factor = np.array(single).T
    return Correlated(scale, row.reshape(grid.ny, grid.nx), spaxels, factor)


def draw(measured, path):
    """Draw it for some sizes of spaxels, and the factors of sums."""
    figure = new_figure(11.5, 3)
    *panels, factors = figure.subplots(
        1, len(measured) + 1, width_ratios=[1] * len(measured) + [1.2]
    )
    colours = (BLUE, ORANGE, GREY)
    for one, axes, colour in zip(measured, panels, colours, strict=True):
        ny, nx = one.coefficients.shape
        half = one.scale * nx / 2, one.scale * ny / 2
        shown = axes.imshow(
            one.coefficients, origin="lower", cmap="PuOr_r", vmin=-1, vmax=1,
            extent=(-half[0], half[0], -half[1], half[1]),
        )  # fmt: skip
        axes.set(
            xlim=(-0.4, 0.4), ylim=(-0.4, 0.4), title=f'spaxels of {one.scale}"',
            xlabel="across the slit, arcsec",
        )  # fmt: skip
        factors.plot(one.spaxels, one.factor, "o-", color=colour, label=f'{one.scale}"')
    panels[0].set(ylabel="along the slit, arcsec")
    figure.colorbar(shown, ax=panels, shrink=0.8, label="correlation with the middle")
    factors.set(
        xlabel="side of an aperture, spaxels", ylabel="error over quadrature",
        ylim=(0.9, None),
    )  # fmt: skip
    factors.legend(frameon=False)
    save(figure, path)
