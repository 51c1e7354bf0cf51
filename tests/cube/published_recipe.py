"""The cube of the published reduction of GO-2136, written once more from its description.

Exposures are taken in a snake: all steps of the first dither, those of the second one backwards,
and so on. Each rectified spectrum is interpolated linearly onto rows four times finer and onto
common wavelengths, put into an array filled with 0 at the fine row of its commanded dither, and the
median is taken over the dithers. The medians of the steps side by side are the cube.
"""

import numpy as np

FINE = 4  # fine rows to a pixel


def common_wavelengths(wavelengths):
    """From the smallest first to the largest last one, by the smallest distance of two."""
    first = min(w[0] for w in wavelengths)
    last = max(w[-1] for w in wavelengths)
    return np.arange(first, last, min(np.diff(w).min() for w in wavelengths))


def interpolated(data, wavelength, grid):
    """A spectrum ``(rows, n)`` on fine rows and common wavelengths; NaN outside."""
    data = data.astype(float)
    fine = np.arange(FINE * (len(data) - 1) + 1) / FINE
    low, high = fine.astype(int), np.ceil(fine).astype(int)
    part = (fine - low)[:, None]
    rows = (1 - part) * data[low] + part * data[high]
    return np.stack([np.interp(grid, wavelength, row, np.nan, np.nan) for row in rows])


def published(spectra, grid, n_steps, n_dithers, dither, pixel, fill=0.0, median=np.median):
    """The cube ``(n_wave, n_fine, n_steps)`` of spectra and their wavelengths, in a snake's order.

    `dither` is the commanded one and `pixel` the native pixel size, arcsec. With another `fill` or
    `median` than the published ones, what is wrong with these can be told.
    """
    length = int(FINE * (max(len(data) for data, _ in spectra) + 4.5))
    planes = np.full((n_steps, n_dithers, length, grid.size), fill)
    for number, (data, wavelength) in enumerate(spectra):
        k, place = divmod(number, n_steps)
        step = place if k % 2 == 0 else n_steps - 1 - place
        rows = interpolated(data, wavelength, grid)
        first = int(k * dither / (pixel / FINE) + 1e-9)
        planes[step, k, first : first + len(rows)] = rows
    return median(planes, axis=1).transpose(2, 1, 0)


def median_of_seen(planes, axis):
    """Median of what is not NaN."""
    return np.ma.median(np.ma.masked_invalid(planes), axis=axis).filled(np.nan)
