"""Cutouts of pure noise, and the scatter of sums over apertures of the cubes made of them."""

from dataclasses import replace

import numpy as np


def dark(cutouts, rng, sigma=0.02):
    """Cutouts without light, with errors that differ from pixel to pixel."""
    made = []
    for cutout in cutouts:
        variance = ((sigma * rng.uniform(0.7, 1.4, cutout.data.shape)) ** 2).astype(np.float32)
        data = np.where(np.isfinite(cutout.data), np.float32(0), np.float32(np.nan))
        made.append(replace(cutout, data=data, variance=variance, read_variance=variance / 2))
    return made


def with_noise(cutouts, rng):
    """Add noise of their errors."""
    return [
        replace(
            c,
            data=c.data
            + np.sqrt(c.variance) * rng.standard_normal(c.data.shape).astype(np.float32),
        )
        for c in cutouts
    ]


class Scatter:
    """Sums over apertures at all places of cubes of noise, over their predicted errors."""

    def __init__(self, err, factors, sides, numbers):
        self.err, self.sums = err, {}
        self.predicted = {}
        seen = np.isfinite(err)
        variance = np.where(seen, err, np.nan).astype(float) ** 2
        for side in sides:
            for number in numbers:
                if (side, number) in factors:
                    quadrature = np.sqrt(apertures(variance, side, number))
                    self.predicted[side, number] = factors[side, number] * quadrature

    def add(self, data):
        """Add the noise of one cube."""
        for (side, number), predicted in self.predicted.items():
            pull = apertures(data.astype(float), side, number) / predicted
            pull = pull[np.isfinite(pull)]
            total = self.sums.setdefault((side, number), np.zeros(2))
            total += (pull @ pull, pull.size)

    def ratios(self):
        """Measured scatter over predicted error, by side and number of channels."""
        return {key: float(np.sqrt(a / n)) for key, (a, n) in self.sums.items()}


def apertures(cube, side, number):
    """Sums over squares at all places and over as many channels, one after the other."""
    n_wave = cube.shape[0] // number * number
    cube = cube[:n_wave].reshape(-1, number, *cube.shape[1:]).sum(axis=1)
    windows = np.lib.stride_tricks.sliding_window_view(cube, (side, side), axis=(1, 2))
    return windows.sum(axis=(3, 4))
