"""Images of the whole wavelength range of a cube: white light and exposure time."""

import numpy as np

__all__ = ["channel_weights", "exposure_time", "white_light"]

CHANNELS = 256
"""Number of channels that are added at once, so that copies stay small."""

SAMPLES = 256
"""Number of spaxels, covered or not, that the noise of a channel is taken from."""

LEAST = 0.05
"""Part of the weight of the best spaxel below which a spaxel counts as not covered."""


def white_light(view):
    """Average the channels with their inverse median variance as weights.

    All spaxels have the same weights, so that the image is a fair one of the source (weights by
    voxel would favour faint spaxels), and channels that are all noise, as those at the ends of the
    prism's range, do not drown the others.

    Parameters
    ----------
    view : ~msa3d_steps.quicklook.view.CubeView
        The cube.

    Returns
    -------
    numpy.ndarray
        Surface brightness, MJy/sr, shape ``(ny, nx)``, float32; NaN where nothing is covered.
    """
    weights = channel_weights(view.err)
    total = np.zeros(view.data.shape[1:], np.float32)
    weight = np.zeros_like(total)
    for block in _blocks(len(view.data)):
        data = np.asarray(view.data[block], np.float32)
        good = np.isfinite(data)
        w = weights[block]
        total += np.tensordot(w, np.where(good, data, np.float32(0)), 1)
        weight += np.tensordot(w, good.astype(np.float32), 1)
    covered = weight > LEAST * max(weight.max(initial=0), np.finfo(np.float32).tiny)
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=covered)


def exposure_time(view):
    """Average the effective exposure time over the channels that a spaxel has data in.

    Parameters
    ----------
    view : ~msa3d_steps.quicklook.view.CubeView
        The cube.

    Returns
    -------
    numpy.ndarray or None
        Exposure time, s, shape ``(ny, nx)``, float32; NaN where nothing is covered. None for cubes
        that do not tell.
    """
    if view.etime is None:
        return None
    total = np.zeros(view.data.shape[1:], np.float32)
    channels = np.zeros_like(total)
    for block in _blocks(len(view.data)):
        time = np.asarray(view.etime[block], np.float32)
        seen = time > 0
        total += np.where(seen, time, np.float32(0)).sum(axis=0)
        channels += seen.sum(axis=0, dtype=np.float32)
    return np.divide(total, channels, out=np.full_like(total, np.nan), where=channels > 0)


def _blocks(number):
    """Give slices of `CHANNELS`."""
    return [slice(i, i + CHANNELS) for i in range(0, number, CHANNELS)]


def channel_weights(err):
    """Give the inverse median variance of each channel.

    Parameters
    ----------
    err : numpy.ndarray
        Standard deviations, shape ``(n_wave, ny, nx)``; NaN where unknown.

    Returns
    -------
    numpy.ndarray
        Relative to that of the median channel, shape ``(n_wave,)``, float32: 0 for channels
        without errors, all 1 where none has any.
    """
    spaxels = np.linspace(0, err[0].size - 1, min(SAMPLES, err[0].size)).astype(int)
    sampled = np.sort(np.asarray(err.reshape(len(err), -1)[:, spaxels], np.float32), axis=1)
    number = np.isfinite(sampled).sum(axis=1)  # NaN are sorted to the end
    middle = sampled[np.arange(len(err)), np.maximum(number - 1, 0) // 2]
    noise = np.where(number > 0, middle, 0)
    good = noise > 0
    if not good.any():
        return np.ones(len(err), np.float32)
    weights = np.zeros(len(err), np.float32)
    weights[good] = (noise[good] / np.median(noise[good])) ** -2.0
    return weights
