"""The panels of the picture of a cube that show the field."""

import numpy as np

from msa3d_steps.quicklook import footprints
from msa3d_steps.quicklook.cut import main_body
from msa3d_steps.quicklook.style import (
    INK,
    MAPS,
    MASKED,
    halo,
    line_name,
    power,
    round_length,
    superscript,
)
from msa3d_steps.words import counted

__all__ = [
    "draw_compass",
    "draw_cut",
    "draw_dispersion",
    "draw_line",
    "draw_scale_bar",
    "draw_slits",
    "draw_time",
    "draw_velocity",
    "draw_white_light",
    "points_of",
    "robust_range",
    "say",
    "stretch",
    "velocity_range",
]

GREY = "grey: S/N too low for moments"

LONG_NAME = 12
"""Number of letters of the name of a line above which it is not in the title."""

NARROW = 100
"""Width of a panel, points, in which compass and scale bar do not fit side by side."""

SNR_LEVELS = 3, 10, 30, 100, 300, 1000


def say(axes, words):
    """Write in a panel why it is empty."""
    axes.text(
        0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color="0.35",
        linespacing=1.4,
    )  # fmt: skip


def robust_range(values, low=1.0, high=99.7, zero=False):
    """Give the range of colours, which a few outliers do not stretch.

    Parameters
    ----------
    values : numpy.ndarray
        What is shown; NaN are left out.
    low, high : float
        Percentiles.
    zero : bool
        The range begins at zero.

    Returns
    -------
    tuple of float
        Lowest and highest value, which differ.
    """
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 1.0
    bottom, top = (0.0 if zero else np.percentile(values, low)), np.percentile(values, high)
    if not top > bottom:
        top = bottom + (abs(bottom) * 1e-3 or 1.0)
    return float(bottom), float(top)


def velocity_range(maps):
    """Give a symmetric range of colours for velocities: those of the main body of the line.

    Parameters
    ----------
    maps : LineMaps
        The maps of a line.

    Returns
    -------
    middle, half : float
        The middle, which is zero unless all velocities are far from it (with a redshift that does
        not fit, say), and half the range, km/s.
    """
    good = maps.velocity[main_body(maps)]
    if not good.size:
        return 0.0, 100.0
    median = float(np.median(good))
    spread = float(np.percentile(abs(good - median), 97))
    middle = median if abs(median) > 1.5 * max(spread, 20) else 0.0
    half = float(np.percentile(abs(good - middle), 97))
    return middle, max(1.05 * half, 10.0)


def stretch(image, zero=True, percentiles=(1.0, 99.7)):
    """Choose colours that show the bright and the faint of an image: linear near zero.

    `asinh` as in Lupton et al. (2004, PASP 116, 133); it bends at a tenth of the brightest, or
    where the noise ends. With `zero` that is on the scale.
    """
    from matplotlib.colors import AsinhNorm

    low, high = robust_range(image, *percentiles)
    if zero or 0 < low < 0.05 * high:
        low = min(low, 0.0)
    good = image[np.isfinite(image)]
    spread = 1.48 * float(np.median(abs(good - np.median(good)))) if good.size else 0.0
    return AsinhNorm(max(high / 10, 2 * spread) or 1.0, low, high)


def _show(panel, frame, image, kind, norm, grey=None):
    """Draw an image of the field, with another layer for spaxels that are grey."""
    if grey is not None and grey.any():
        layer = np.where(grey[..., None], _rgba(MASKED), 0.0)
        panel.map.imshow(
            layer, origin="lower", extent=frame.extent, interpolation="nearest", aspect="auto"
        )
    return panel.map.imshow(
        np.ma.masked_invalid(image), origin="lower", extent=frame.extent, cmap=MAPS[kind],
        norm=norm, interpolation="nearest", aspect="auto",
    )  # fmt: skip


def _rgba(color):
    from matplotlib.colors import to_rgba

    return np.array(to_rgba(color))


def _scaled(image):
    """Scale an image to numbers that are easy to read.

    Returns
    -------
    factor : float
        What to multiply it by.
    unit : str
        Power of ten that the unit gets; empty where it needs none.
    """
    finite = abs(image[np.isfinite(image)])
    top = float(np.percentile(finite, 99.7)) if finite.size else 0.0
    exponent = power(top)
    if -2 <= exponent <= 3:
        return 1.0, ""
    return 10.0**-exponent, f"10{superscript(exponent)} "


def draw_white_light(panel, frame, image, inside=None):
    """Draw the white light and the outline of the aperture of the spectrum."""
    if not np.isfinite(image).any():
        panel.bar.title("White light")
        say(panel.map, "no data")
        return
    factor, unit = _scaled(image)
    shown = _show(panel, frame, image * factor, "white", stretch(image * factor, zero=False))
    panel.bar.draw(shown, f"White light ({unit}MJy sr⁻¹)")
    if inside is not None and inside.any() and not inside.all():
        _outline(panel.map, frame, inside, color="white", lw=1.3)
        panel.bar.note("white line: aperture of the spectrum")
    if frame.from_source:
        panel.map.plot(0, 0, "+", color="white", ms=9, mew=1.6, path_effects=halo(3, INK))


def _outline(axes, frame, inside, **style):
    """Draw the outline of a set of spaxels along their sides."""
    from matplotlib.collections import LineCollection

    padded = np.pad(inside, 1)
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])  # sides between columns
    upright = np.stack([[columns - 0.5, rows - 1.5], [columns - 0.5, rows - 0.5]])
    rows, columns = np.nonzero(padded[1:] != padded[:-1])
    level = np.stack([[columns - 1.5, rows - 0.5], [columns - 0.5, rows - 0.5]])
    sides = np.moveaxis(np.concatenate([upright, level], axis=2), 2, 0)
    x, y = frame.of_pixels(sides[..., 0], sides[..., 1])
    color, width = style.pop("color"), style.pop("lw")
    axes.add_collection(
        LineCollection(np.stack([x, y], axis=-1), colors=INK, linewidths=width + 1.4, **style),
        autolim=False,
    )
    axes.add_collection(
        LineCollection(np.stack([x, y], axis=-1), colors=color, linewidths=width, **style),
        autolim=False,
    )


def draw_line(panel, frame, maps):
    """Draw the flux of a line and contours of its S/N."""
    name = line_name(maps.name)
    factor, unit = _scaled(maps.flux)
    flux = maps.flux * factor
    shown = _show(panel, frame, flux, "line", stretch(flux))
    unit = f"({unit}erg s⁻¹ cm⁻² arcsec⁻²)"
    notes = []
    if len(name) > LONG_NAME:
        notes, name = [name], "line"
    panel.bar.draw(shown, f"{name[0].upper()}{name[1:]} {unit}")
    snr = np.nan_to_num(maps.snr, posinf=0, neginf=0)
    levels = [level for level in SNR_LEVELS if level < snr.max()]
    if levels and min(snr.shape) > 1:
        x, y = frame.of_pixels(*(np.arange(n) for n in snr.shape[::-1]))
        panel.map.contour(x, y, snr, levels, colors="white", linewidths=1.0)
        notes.append("contours: S/N " + ", ".join(f"{level:g}" for level in levels))
    panel.bar.note("; ".join(notes))


def draw_velocity(panel, frame, maps):
    """Draw the velocities of a line; grey where they are masked."""
    from matplotlib.colors import Normalize

    middle, half = velocity_range(maps)
    norm = Normalize(middle - half, middle + half)
    shown = _show(panel, frame, maps.velocity, "velocity", norm, _masked(maps, maps.velocity))
    panel.bar.draw(shown, "Velocity (km s⁻¹)")
    panel.bar.note(GREY)


def draw_dispersion(panel, frame, maps):
    """Draw the velocity dispersions of a line; grey where they are masked."""
    from matplotlib.colors import Normalize

    low, high = robust_range(maps.dispersion[main_body(maps)], 2, 98)
    more = max(0.1 * high - (high - low), 0) / 2  # or noise would fill the range
    norm = Normalize(low - more, high + more)
    grey = _masked(maps, maps.dispersion)
    shown = _show(panel, frame, maps.dispersion, "dispersion", norm, grey)
    panel.bar.draw(shown, "Velocity dispersion, as observed (km s⁻¹)")
    panel.bar.note(GREY)


def _masked(maps, values):
    """Tell which spaxels have data, but no trustworthy value."""
    return (maps.mask & 1 == 0) & ~np.isfinite(values)


def draw_time(panel, frame, time):
    """Draw the effective exposure time."""
    from matplotlib.colors import Normalize

    if time is None:
        panel.bar.title("Effective exposure time")
        say(panel.map, "not in this cube")
        return
    top = np.nanmax(time) if np.isfinite(time).any() else 0
    kilo = top >= 20000
    time = time / 1000 if kilo else time
    norm = Normalize(0, robust_range(time, high=100)[1])
    panel.bar.draw(
        _show(panel, frame, time, "time", norm),
        f"Effective exposure time ({'ks' if kilo else 's'})",
    )


def draw_slits(panel, frame, slits):
    """Draw the slits, coloured by step: one dither strong, the others thin."""
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import BoundaryNorm, ListedColormap

    if slits is None or not slits.ra.size:
        panel.bar.title("Slits")
        say(panel.map, "not in this cube")
        return
    chosen = footprints.unique_slits(slits)
    x, y = frame.of_sky(*footprints.corners_on_sky(slits))
    corners = np.stack([x, y], axis=-1)[chosen]
    step, dither = slits.step[chosen], slits.dither[chosen]
    strong = footprints.strong_dither(slits)
    steps = np.arange(slits.step.min(), slits.step.max() + 1)
    # without the brightest colours, which do not show on white
    cmap = ListedColormap(colormaps[MAPS["step"]](np.linspace(0, 0.87, steps.size)))
    norm = BoundaryNorm(np.append(steps, steps[-1] + 1) - 0.5, cmap.N)
    colors = cmap(norm(step))
    thin, bold = dither != strong, dither == strong
    panel.map.add_collection(
        PolyCollection(corners[thin], facecolors="none", edgecolors=colors[thin], linewidths=0.5),
        autolim=False,
    )
    faces = colors[bold] * [1, 1, 1, 0.4]
    panel.map.add_collection(
        PolyCollection(corners[bold], facecolors=faces, edgecolors=colors[bold], linewidths=1.4),
        autolim=False,
    )
    dithers = np.unique(dither).size
    title = f"Slits: {counted(np.unique(step).size, 'step')} \u00d7 {counted(dithers, 'dither')}"
    named = {step: str(step + 1) for step in steps[:: max(1, -(-steps.size // 12))]}
    panel.bar.draw(ScalarMappable(norm, cmap), f"{title} (colour: step)", named)
    if dithers > 1:
        panel.bar.note(f"filled: dither {strong + 1}")


def draw_cut(axes, frame, cut, offsets):
    """Draw a cut on a map; the filled end is that of positive positions."""
    x, y = frame.of_pixels(*cut.pixels([offsets[0], offsets[-1]]))
    axes.plot(x, y, color=INK, lw=1.2, ls=(0, (6, 3)), path_effects=halo(2.4))
    axes.plot(*frame.of_pixels(*cut.center), "o", mfc="none", mec=INK, ms=5, mew=1.2)
    x, y = frame.of_pixels(*cut.pixels([0.82 * offsets[-1]]))
    axes.text(
        x[0], y[0], "+", ha="center", va="center", fontsize=13, weight="bold",
        path_effects=halo(3), clip_on=True,
    )  # fmt: skip


def draw_compass(axes, frame):
    """Draw arrows to north and east in the lower left corner."""
    size = min(24, 0.2 * points_of(axes).min())
    tips = {"N": frame.north * size, "E": frame.east * size}
    letters = {name: tip * (1 + 9 / size) for name, tip in tips.items()}
    ends = np.array([[0, 0], *(tip * (1 + 14 / size) for tip in tips.values())])
    base = 8 - ends.min(axis=0)  # all of it is inside the panel
    unit = 1 / points_of(axes)
    for name, tip in tips.items():
        axes.annotate(
            "", xy=(base + tip) * unit, xytext=base * unit, xycoords="axes fraction",
            arrowprops={
                "arrowstyle": "-|>", "lw": 1.4, "color": INK, "shrinkA": 0, "shrinkB": 0,
                "mutation_scale": 9, "path_effects": halo(3.2),
            },
            gid=f"arrow {name}",
        )  # fmt: skip
        axes.text(
            *((base + letters[name]) * unit), name, transform=axes.transAxes, ha="center",
            va="center", weight="bold", path_effects=halo(2.6),
        )  # fmt: skip


def points_of(axes):
    """Give width and height of axes, points."""
    place = axes.get_position()
    return np.array([place.width, place.height]) * axes.get_figure().get_size_inches() * 72


def draw_scale_bar(axes):
    """Draw a bar of a round length, arcsec, in the lower right corner (upper, if narrow)."""
    left, right = axes.get_xlim()
    length = round_length(0.4 * abs(right - left))
    part = length / abs(right - left)
    height = 0.045 if points_of(axes)[0] > NARROW else 0.9
    axes.plot(
        [0.96 - part, 0.96], [height, height], transform=axes.transAxes, color=INK, lw=2.5,
        path_effects=halo(4.5), solid_capstyle="butt", gid="scale bar",
    )  # fmt: skip
    axes.annotate(
        f"{length:g}\u2033", (0.96, height), (0, 5), xycoords="axes fraction",
        textcoords="offset points", ha="right", va="bottom", path_effects=halo(2.6),
    )  # fmt: skip
