"""The plan of a pattern as a picture."""

from pathlib import Path

import numpy as np

from msa3d_steps.errors import InputError
from msa3d_steps.whole import replace_whole
from msa3d_steps.words import counted

__all__ = ["compass", "draw_plan"]

# colours that colour-blind readers can tell apart (Okabe & Ito 2008)
BLUE, ORANGE, SKY_BLUE = "#0072b2", "#d55e00", "#56b4e9"
FADED = 400
"""Rectangles from which on outlines are left out."""

SIZE = 12.6, 8.6
"""Size of the figure, inches."""

MAP = 2.95, 4.3
"""Size of a map, inches."""

PANELS = {
    "slits": (0.8, 3.75, *MAP),
    "time": (4.35, 3.75, *MAP),
    "time_bar": (7.38, 3.75, 0.12, 4.3),
    "dithers": (8.85, 3.75, *MAP),
    "dithers_bar": (11.88, 3.75, 0.12, 4.3),
    "across": (4.35, 0.6, 3.15, 2.25),
    "along": (8.85, 0.6, 3.15, 2.25),
    "compass": (0.5, 2.05, 1.2, 1.2),
    "facts": (0.25, 0.4, 3.3, 1.75),
}
"""Left, bottom, width and height of the panels, inches."""


def draw_plan(plan, path):
    """Draw a plan.

    The field is shown as on the sky, with the slits upright: footprints, exposure times and
    dithers per spaxel; below, profiles of the exposure time across and along the slits.

    Parameters
    ----------
    plan : Plan
        The plan.
    path : str or pathlib.Path
        Where to; a name ending in ``.png``, or in another ending that matplotlib knows. Written
        whole or not at all.

    Returns
    -------
    pathlib.Path
        The picture.

    Raises
    ------
    InputError
        If matplotlib is not installed, cannot write such a file, or there is no such folder.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as err:
        raise InputError(
            "drawing a plan needs matplotlib: pip install msa3d-steps[pictures]"
        ) from err
    path = Path(path)
    _check(path, FigureCanvasAgg)
    figure = Figure(figsize=SIZE)
    FigureCanvasAgg(figure)
    panels = {name: figure.add_axes(_place(*inches)) for name, inches in PANELS.items()}
    _draw_slits(panels["slits"], plan)
    _draw_times(panels["time"], panels["time_bar"], plan)
    _draw_dithers(panels["dithers"], panels["dithers_bar"], plan)
    for name in ("slits", "time", "dithers"):
        _frame(panels[name], plan)
    panels["slits"].set_ylabel("along the slits (arcsec)")
    _draw_scale_bar(panels["slits"], plan)
    _draw_profile(panels["across"], plan, 0)
    _draw_profile(panels["along"], plan, 1)
    _draw_compass(panels["compass"], plan.survey.position_angle)
    _write_facts(panels["facts"], plan)
    figure.suptitle(_title(plan.survey), fontsize=12, y=0.985)
    with replace_whole(path) as temporary:
        figure.savefig(temporary, dpi=120)
    return path


def _check(path, canvas):
    """Refuse what cannot be written before any work."""
    known = canvas.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise InputError(f"{path}: no picture can have this ending; give a name ending in .png")
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no folder {path.parent}; make it, or name another")


def _place(left, bottom, width, height):
    """Turn inches into shares of the figure."""
    return left / SIZE[0], bottom / SIZE[1], width / SIZE[0], height / SIZE[1]


def _title(survey):
    steps, dithers = counted(survey.steps, "step"), counted(survey.dithers, "dither")
    return (
        f"{survey.grating}/{survey.filter}: {steps} of {survey.step:g}\u2033 \u00d7 {dithers} of "
        f"{survey.dither:g}\u2033, {counted(survey.n_exposures, 'exposure')} of "
        f"{survey.exposure_time:g} s"
    )


def _draw_slits(panel, plan):
    """Draw the open shutters of all exposures, and of one in another colour."""
    from matplotlib.collections import PolyCollection

    slitlets = plan.slitlets
    left, right, bottom, top = slitlets.rectangles()
    corners = np.stack([[left, right, right, left], [bottom, bottom, top, top]], axis=-1)
    corners = np.moveaxis(corners, 0, 1)
    number = corners.shape[0]
    layers = max(plan.spaxel_exposures.most, 1)
    outline = {"edgecolors": BLUE, "linewidths": 0.4} if number < FADED else {"linewidths": 0}
    panel.add_collection(
        PolyCollection(corners, facecolors=SKY_BLUE, alpha=1 - 0.15 ** (1 / layers), **outline)
    )
    first = int(np.hypot(slitlets.across, slitlets.along).argmin()) * slitlets.n_shutters
    one = corners[first : first + slitlets.n_shutters]
    panel.add_collection(
        PolyCollection(one, facecolors=ORANGE, edgecolors="black", linewidths=0.8, alpha=0.85)
    )
    panel.set_title("open shutters of all exposures, one in orange", fontsize=10)


def _extent(maps):
    return (maps.x[0], maps.x[-1], maps.y[0], maps.y[-1])


def _draw_times(panel, bar, plan):
    """Draw the effective exposure time of the spaxels."""
    maps = plan.spaxels
    shown = np.ma.masked_equal(maps.time, 0)
    image = panel.imshow(
        shown, origin="lower", extent=_extent(maps), cmap="cividis", vmin=0,
        interpolation="nearest",
    )  # fmt: skip
    panel.figure.colorbar(image, cax=bar, label="s")
    panel.set_title(
        f"effective exposure time, spaxels of {np.diff(maps.x)[0]:.1f}\u2033", fontsize=10
    )


def _draw_dithers(panel, bar, plan):
    """Draw the number of distinct dithers of the spaxels."""
    from matplotlib.colors import BoundaryNorm
    from matplotlib.ticker import MaxNLocator

    maps = plan.spaxels
    most = max(int(maps.dithers.max()), 1)
    norm = BoundaryNorm(np.arange(0.5, most + 1), 256) if most <= 20 else None
    image = panel.imshow(
        np.ma.masked_equal(maps.dithers, 0), origin="lower", extent=_extent(maps), norm=norm,
        cmap="viridis", interpolation="nearest",
    )  # fmt: skip
    scale = panel.figure.colorbar(image, cax=bar, label="distinct dithers")
    ticks = MaxNLocator(8, integer=True, min_n_ticks=1).tick_values(1, most)
    scale.set_ticks([tick for tick in ticks if 1 <= tick <= most])
    scale.minorticks_off()
    panel.set_title("dithers that see the spaxel", fontsize=10)


def _frame(panel, plan):
    """Give the maps the same limits and axes: as seen on the sky, with the slits upright."""
    x0, x1, y0, y1 = _extent(plan.spaxels)
    margin = 0.06 * max(x1 - x0, y1 - y0)
    along = max(y1 - y0 + 2.6 * margin, (x1 - x0 + 2 * margin) * MAP[1] / MAP[0]) / 2
    across = along * MAP[0] / MAP[1]
    middle = 0.5 * (x0 + x1), 0.5 * (y0 + y1) - 0.3 * margin
    panel.set_xlim(middle[0] + across, middle[0] - across)
    panel.set_ylim(middle[1] - along, middle[1] + along)
    panel.set_aspect("equal")
    panel.set_xlabel("across the slits (arcsec)")


def _draw_scale_bar(panel, plan):
    """Draw a bar of a round length below the field."""
    x0, x1, y0, y1 = _extent(plan.spaxels)
    margin = 0.06 * max(x1 - x0, y1 - y0)
    choices = np.array([0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100])
    length = choices[np.searchsorted(choices, 0.5 * (x1 - x0), side="right").clip(1) - 1]
    middle, height = 0.5 * (x0 + x1), y0 - 0.6 * margin
    panel.plot([middle - length / 2, middle + length / 2], [height] * 2, color="black", lw=2.5)
    panel.annotate(
        f"{length:g}\u2033", (middle - length / 2, height), (4, 0), textcoords="offset points",
        va="center", fontsize=9,
    )  # fmt: skip


def _draw_profile(panel, plan, axis):
    """Draw the mean exposure time of the core against one axis."""
    maps = plan.fine
    edges, name = ((maps.x, "across"), (maps.y, "along"))[axis]
    lines = _seen_lines(maps, plan.core, axis)
    opened, shadowed = (
        np.moveaxis(values, axis, 0)[lines].mean(axis=0)
        for values in (maps.time, maps.shadowed_time)
    )
    panel.stairs(opened, edges, fill=True, color=SKY_BLUE, alpha=0.6, label="shutters open")
    panel.stairs(shadowed, edges, baseline=None, color=ORANGE, lw=1.2, label="with shadows of bars")
    for limit in plan.core[2 * axis : 2 * axis + 2]:
        panel.axvline(limit, color="0.3", lw=0.9, ls=":")
    margin = 0.03 * (edges[-1] - edges[0])
    panel.set_xlim(edges[0] - margin, edges[-1] + margin)
    panel.set_ylim(0, 1.2 * max(opened.max(), shadowed.max()))
    panel.set_xlabel(f"{name} the slits (arcsec)")
    panel.set_ylabel("exposure time (s)")
    if axis == 0:
        panel.invert_xaxis()
    panel.set_title(f"mean of the core (dotted), {name} the slits", fontsize=10)
    panel.legend(fontsize=8, loc="upper center", ncols=2, frameon=False, handlelength=1.2)


def _seen_lines(maps, core, axis):
    """Tell which lines of the fine map along an axis are in the core and not in a gap."""
    inside = maps.inside(core, whole=False)
    inside = inside if inside.any() else np.ones_like(inside)
    time = np.where(inside, maps.time, 0).sum(axis=1 - axis)
    return time > 0.5 * np.median(time[time > 0])


def _write_facts(panel, plan):
    """Write the numbers that matter."""
    survey, gaps, time = plan.survey, plan.gaps, plan.time
    panel.set_axis_off()
    x0, x1, y0, y1 = plan.field
    lines = [
        f"field {x1 - x0:.2f}\u2033 \u00d7 {y1 - y0:.2f}\u2033, {gaps.total:.1%} of it not seen",
        f"slits at position angle {survey.position_angle:g}\u00b0",
        f"{plan.total_time / 3600:.2f} h of exposure, without overheads",
        f"points of the core: {time.least:.0f} to {time.most:.0f} s, median {time.median:.0f} s",
        "unresolved line, 5\u03c3 in a spaxel (modelled):",
        f"{plan.depth.brightness:.3g}\u00d710$^{{-20}}$ W m$^{{-2}}$ arcsec$^{{-2}}$ at "
        f"{plan.depth.lam:.2f} \u00b5m",
    ]
    panel.text(0, 1, "\n".join(lines), va="top", fontsize=9.5, linespacing=1.45)


def compass(position_angle):
    """Give the directions of north and east in the maps, where the slits point up.

    Parameters
    ----------
    position_angle : float
        Of the slits, deg east of north.

    Returns
    -------
    north, east : tuple of float
        Unit vectors, to the right and up.
    """
    sine, cosine = np.sin(np.deg2rad(position_angle)), np.cos(np.deg2rad(position_angle))
    return (float(sine), float(cosine)), (float(-cosine), float(sine))


def _draw_compass(panel, position_angle):
    """Draw north and east as they are in the maps, where the slits point up."""
    panel.set_axis_off()
    directions = compass(position_angle)
    arrow = {"arrowstyle": "<|-", "color": "black", "lw": 1.2, "shrinkA": 0, "shrinkB": 0}
    for name, direction in zip("NE", directions, strict=True):
        tip, label = 30 * np.array(direction), 39 * np.array(direction)
        panel.annotate("", (0.5, 0.5), tip, textcoords="offset points", arrowprops=arrow)
        panel.annotate(
            name, (0.5, 0.5), label, textcoords="offset points", ha="center", va="center",
            fontsize=10,
        )  # fmt: skip
