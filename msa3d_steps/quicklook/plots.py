"""The panels of the picture of a cube that show wavelengths: spectra and cuts."""

from itertools import pairwise

import numpy as np

from msa3d_steps.quicklook.cut import cut_cube, main_body
from msa3d_steps.quicklook.layout import label_axes
from msa3d_steps.quicklook.panels import points_of, robust_range, say
from msa3d_steps.quicklook.style import BLUE, INK, MAPS, VERMILION, line_name, round_values
from msa3d_steps.quicklook.windows import SPEED_OF_LIGHT

__all__ = ["draw_spectrum", "draw_velocity_cut", "draw_wavelength_cut", "draw_zoom"]

WIDE = 3.0
"""Last over first wavelength from which on the axis is logarithmic, as for the prism."""

HIGH = 15.0
"""Highest flux over that of the continuum (or noise) from which on the flux axis is not linear."""

ZOOM = 3.0
"""Widths of the line's window that the zoom shows."""

LEAST_CHANNELS = 12
"""Number of channels that a zoom or cut shows at least."""

HEADROOM = 0.15
"""Part of the flux axis that is added above lines, where marks begin at 0.9 of it."""

COLUMNS = 300
"""Number of bins of a cut over all wavelengths."""

WAVELENGTH = "Observed wavelength (µm, vacuum)"

LETTER = 4.7
"""Mean width of a letter of the names of lines, points."""

UNITS = ((1.0, "mJy"), (1e3, "µJy"), (1e6, "nJy"))


def _edges(middles, width=1e-3):
    """Give the sides of channels, shape ``(n + 1,)``; one alone has the width."""
    if middles.size < 2:
        return np.array([middles[0] - width / 2, middles[0] + width / 2])
    between = (middles[1:] + middles[:-1]) / 2
    first, last = 2 * middles[0] - between[0], 2 * middles[-1] - between[-1]
    return np.concatenate([[first], between, [last]])


def _unit(flux):
    """Choose the unit of a spectrum: factor from mJy, and name."""
    finite = abs(flux[np.isfinite(flux)])
    top = float(np.percentile(finite, 99)) if finite.size else 1.0
    return next((u for u in UNITS if top * u[0] >= 0.1), UNITS[-1])


def _draw_steps(axes, spectrum, shown, factor):
    """Draw the flux of channels and a band of its error."""
    wavelengths = spectrum.wavelengths[shown]
    flux, err = (np.asarray(a, float)[shown] * factor for a in (spectrum.flux, spectrum.err))
    axes.axhline(0, color="0.6", lw=0.7, zorder=0)
    if wavelengths.size == 1:
        axes.errorbar(wavelengths, flux, err, fmt="o", color=BLUE, ms=4)
        return
    axes.fill_between(wavelengths, flux - err, flux + err, step="mid", color=BLUE, alpha=0.25, lw=0)
    axes.step(wavelengths, flux, where="mid", color=BLUE, lw=0.9)


def _flux_limits(flux, err, wavelengths, maps):
    """Give limits that leave out spikes, but no lines."""
    good = np.isfinite(flux)
    if not good.any():
        return -1.0, 1.0
    low, high = np.percentile(flux[good], [0.5, 99.5])
    for one in maps:
        inside = good & (wavelengths >= one.window[0]) & (wavelengths <= one.window[1])
        high = max(high, flux[inside].max(initial=high))
    noise = float(np.nanmedian(err[good])) if np.isfinite(err[good]).any() else 0.0
    low, high = min(low - noise, 0.0), high + noise
    span = (high - low) or 1.0
    return low - 0.05 * span, high + 0.08 * span


def draw_spectrum(axes, spectrum, maps):
    """Draw the spectrum of the aperture over all wavelengths, and where the lines are.

    Parameters
    ----------
    axes : `~matplotlib.axes.Axes`
        Where.
    spectrum : ApertureSpectrum
        The spectrum.
    maps : sequence of LineMaps
        The lines.
    """
    _name_wavelengths(axes, spectrum.wavelengths)
    flux, err = np.asarray(spectrum.flux, float), np.asarray(spectrum.err, float)
    factor, unit = _unit(flux)
    label_axes(axes, WAVELENGTH, f"Flux ({unit})")
    if not np.isfinite(flux).any():
        say(axes, "no spectrum: the aperture has no data")
        return
    _draw_steps(axes, spectrum, slice(None), factor)
    low, high = _flux_limits(flux * factor, err * factor, spectrum.wavelengths, maps)
    _spread(axes, flux * factor, low, high)
    axes.set_ylim(low, _with_headroom(axes, low, high) if maps else high)
    _mark_lines(axes, maps)


def _with_headroom(axes, low, high):
    """Give the upper limit that leaves room for the marks above the highest line."""
    scale = axes.yaxis.get_transform()
    bottom, top = scale.transform(np.array([low, high]))
    return float(scale.inverted().transform(np.array([top + HEADROOM * (top - bottom)]))[0])


def _spread(axes, flux, low, high):
    """Make the flux axis linear near the continuum and logarithmic above, if lines rise far."""
    level = float(np.nanpercentile(abs(flux), 80))
    if not (level > 0 and high > HIGH * level):
        return
    width = 2 * level
    axes.set_yscale("asinh", linear_width=width)
    ends = np.arcsinh(np.array([low, high]) / width)
    ticks = round_values(lambda v: np.arcsinh(v / width) / np.ptp(ends), low, high, 0.14)
    axes.set_yticks(ticks, [f"{tick:g}".replace("-", "\u2212") for tick in ticks])
    axes.set_yticks([], minor=True)
    axes.set_ylabel(axes.get_ylabel() + ", asinh")


def _name_wavelengths(axes, wavelengths):
    """Set the wavelength axis: logarithmic for a wide range."""
    from matplotlib.ticker import FixedLocator, NullFormatter, StrMethodFormatter

    edges = _edges(wavelengths)
    if edges[0] > 0 and edges[-1] / edges[0] > WIDE:
        axes.set_xscale("log")
        ticks = [0.5, 0.6, 0.7, 0.8, 1, 1.2, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 8, 10, 15, 20, 25]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(FixedLocator(np.arange(0.1, 30, 0.1)))
    axes.set_xlim(edges[0], edges[-1])


def _mark_lines(axes, maps):
    """Mark lines by their names above the axes, moved apart where they would overlap."""
    inside = [one for one in maps if axes.get_xlim()[0] <= one.wavelength <= axes.get_xlim()[1]]
    if not inside:
        return
    inside.sort(key=lambda one: one.wavelength)
    to_part = axes.transData + axes.transAxes.inverted()
    true = np.array([to_part.transform((one.wavelength, 0))[0] for one in inside])
    unit = 1 / points_of(axes)
    names = [line_name(one.name) for one in inside]
    widths = np.array([LETTER * len(name) + 6 for name in names]) * unit[0]
    for name, at, label in zip(names, true, _apart(true, widths), strict=True):
        axes.plot(
            [at, at, label], [0.9, 1 + 2 * unit[1], 1 + 7 * unit[1]], transform=axes.transAxes,
            color=VERMILION, lw=0.9, clip_on=False, gid=f"mark {name}",
        )  # fmt: skip
        axes.text(
            label, 1 + 8 * unit[1], name, transform=axes.transAxes, ha="center", va="bottom",
            fontsize=8, color=VERMILION,
        )  # fmt: skip


def _apart(places, widths):
    """Move labels apart where they would overlap, as little as it takes.

    Parameters
    ----------
    places : numpy.ndarray
        Where the labels should be, parts of the axes, ascending.
    widths : numpy.ndarray
        Of the labels.

    Returns
    -------
    numpy.ndarray
        Where they are: labels of a crowd side by side about their mean, all within the axes if
        there is room.
    """
    groups = []  # middle, width and members
    for number, (place, width) in enumerate(zip(places, widths, strict=True)):
        groups.append((place, width, [number]))
        while len(groups) > 1 and _overlap(*groups[-2:]):
            (_, a, first), (_, b, second) = groups[-2:]
            members = first + second
            middle = float(np.mean(places[members]))
            groups[-2:] = [(_kept_inside(middle, a + b), a + b, members)]
    placed = np.array(places, float)
    for middle, width, members in groups:
        ends = _kept_inside(middle, width) - width / 2 + np.cumsum(widths[members])
        placed[members] = ends - widths[members] / 2
    return placed


def _overlap(first, second):
    """Tell whether two groups of labels, middle and width, overlap."""
    return second[0] - first[0] < (first[1] + second[1]) / 2


def _kept_inside(middle, width):
    """Move an interval into the axes."""
    return min(max(middle, width / 2), max(1 - width / 2, width / 2))


def _about(wavelengths, low, high):
    """Give the slice of channels of a range, of `LEAST_CHANNELS` at least."""
    inside = np.flatnonzero((wavelengths >= low) & (wavelengths <= high))
    middle = int(np.argmin(abs(wavelengths - (low + high) / 2)))
    first, last = (inside[0], inside[-1]) if inside.size else (middle, middle)
    missing = max(LEAST_CHANNELS - (last - first + 1), 0)
    return slice(max(first - (missing + 1) // 2, 0), last + 1 + (missing + 1) // 2)


def draw_zoom(axes, spectrum, maps):
    """Draw the spectrum about the strongest line, the window of its moments shaded."""
    from matplotlib.ticker import MaxNLocator

    strongest = maps[0]
    low, high = strongest.window
    middle, half = (low + high) / 2, (high - low) / 2 * ZOOM
    shown = _about(spectrum.wavelengths, middle - half, middle + half)
    flux, err = (np.asarray(a, float) for a in (spectrum.flux, spectrum.err))
    factor, unit = _unit(flux)
    axes.axvspan(low, high, color="0.92", lw=0, zorder=-1)
    _draw_steps(axes, spectrum, shown, factor)
    wavelengths = spectrum.wavelengths[shown]
    bottom, top = _flux_limits(flux[shown] * factor, err[shown] * factor, wavelengths, [strongest])
    axes.set_ylim(bottom, top + 0.12 * (top - bottom))
    edges = _edges(wavelengths)
    axes.set_xlim(edges[0], edges[-1])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    label_axes(axes, WAVELENGTH, f"Flux ({unit})")
    for one in maps:
        if edges[0] <= one.wavelength <= edges[-1]:
            axes.axvline(one.wavelength, color=VERMILION, lw=0.9, ls="--")
    _mark_lines(axes, maps)


def draw_velocity_cut(axes, bar, view, maps, cut):
    """Draw the line, without its continuum, against position along a cut and velocity.

    Returns
    -------
    numpy.ndarray
        The positions that were cut, pixels.
    """
    velocity = SPEED_OF_LIGHT * (view.wavelengths / maps.wavelength - 1)
    low, high = _cut_range(maps)
    shown = _about(velocity, low, high)
    data = np.asarray(view.data[shown], np.float32) - np.nan_to_num(maps.continuum)
    offsets, values = _covered(*cut_cube(data, cut))
    places = offsets * view.scale
    velocity = velocity[shown]
    words = "Line without continuum, cut (MJy sr⁻¹)"
    _draw_cut(axes, bar, _edges(places, view.scale), _edges(velocity, 100.0), values, words)
    axes.axhline(0, color="white", lw=0.7, ls=":")
    axes.axvline(0, color="white", lw=0.7, ls=":")
    _draw_measured(axes, maps, cut, offsets, view.scale)
    bar.note("circles: velocity map")
    along = "kinematic major axis" if cut.kinematic else "slits"
    label_axes(axes, f"Position along the {along} (arcsec)", "Velocity (km s⁻¹)")
    return offsets


def _covered(offsets, values):
    """Leave out the ends of a cut that nothing was seen of."""
    seen = np.flatnonzero(np.isfinite(values).any(axis=0))
    if not seen.size:
        return offsets, values
    return offsets[seen[0] : seen[-1] + 1], values[:, seen[0] : seen[-1] + 1]


def _cut_range(maps):
    """Give the velocities that a cut shows: those of the map and some dispersions more."""
    ends = SPEED_OF_LIGHT * (np.array(maps.window) / maps.wavelength - 1)
    good = main_body(maps) & np.isfinite(maps.dispersion)
    if not good.any():
        return tuple(ends)
    more = 3.5 * float(np.percentile(maps.dispersion[good], 80))
    low, high = np.percentile(maps.velocity[good], [2, 98])
    span = ends[1] - ends[0]  # a wild velocity does not stretch it
    return max(low - more, ends[0] - span / 2), min(high + more, ends[1] + span / 2)


def _draw_measured(axes, maps, cut, offsets, scale):
    """Draw the velocities of the map at the spaxels that a cut passes through."""
    x, y = (np.round(p).astype(int) for p in cut.pixels(offsets))
    rows, columns = maps.velocity.shape
    x, y = x.clip(0, columns - 1), y.clip(0, rows - 1)
    value, err = maps.velocity[y, x], maps.velocity_err[y, x]
    good = np.isfinite(value) & np.isfinite(err)
    axes.errorbar(
        offsets[good] * scale, value[good], err[good], fmt="o", ms=3, mfc="white", mec=INK,
        ecolor="white", elinewidth=1, mew=0.8,
    )  # fmt: skip


def draw_wavelength_cut(axes, bar, view, cut):
    """Draw the cube against wavelength and position along a cut: a two-dimensional spectrum."""
    firsts = np.unique(np.linspace(0, len(view.data), min(COLUMNS, len(view.data)) + 1).astype(int))
    edges = _edges(view.wavelengths)[firsts]
    binned = np.stack([
        _mean(np.asarray(view.data[a:b], np.float32))
        for a, b in pairwise(firsts)
    ])  # fmt: skip
    offsets, values = _covered(*cut_cube(binned, cut))
    _draw_cut(
        axes, bar, edges, _edges(offsets * view.scale, view.scale), values.T, "Cut (MJy sr⁻¹)"
    )
    label_axes(axes, WAVELENGTH, "Position along the slits (arcsec)")


def _mean(data):
    """Average channels, NaN where none has data."""
    good = np.isfinite(data)
    number = good.sum(axis=0)
    total = np.where(good, data, 0).sum(axis=0)
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def _draw_cut(axes, bar, x, y, values, words):
    """Draw the image of a cut with its colour bar."""
    low, high = robust_range(values, 2, 99.5)
    axes.set_facecolor("white")
    image = axes.pcolormesh(
        x, y, np.ma.masked_invalid(values), cmap=MAPS["cut"], vmin=low, vmax=high, rasterized=True
    )
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(y[0], y[-1])
    bar.draw(image, words)
