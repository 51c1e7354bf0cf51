"""One picture of a cube, of fixed layout."""

import base64
import io
import textwrap
from pathlib import Path

import numpy as np

from msa3d_steps.quicklook import panels, plots
from msa3d_steps.quicklook.cut import light_center, major_axis_cut, slit_cut
from msa3d_steps.quicklook.footprints import unique_slits
from msa3d_steps.quicklook.frame import frame_of
from msa3d_steps.quicklook.images import exposure_time, white_light
from msa3d_steps.quicklook.layout import lay_out
from msa3d_steps.quicklook.style import (
    MAPS,
    MASKED,
    VERMILION,
    drawing,
    heading,
    line_name,
    measured,
    save_whole,
)
from msa3d_steps.words import counted

__all__ = ["draw_cube", "draw_figure", "draw_thumbnail"]

NO_LINE = "no emission line found"


def draw_cube(view, maps, spectrum, path, thumbnail_width=320, warnings=()):
    """Draw the picture of a cube.

    White light, flux, velocity and dispersion of the strongest line, exposure time and slits over
    the field; a position-velocity cut along the kinematic major axis; the spectrum of the aperture
    about the line and as a whole.

    Parameters
    ----------
    view : ~msa3d_steps.quicklook.view.CubeView
        The cube.
    maps : sequence of LineMaps
        Maps of the lines, the strongest first; may be empty.
    spectrum : ApertureSpectrum
        The spectrum of the aperture.
    path : str or pathlib.Path
        The PNG file, 1600 x 1000 pixels; written whole or not at all.
    thumbnail_width : int
        Width of the thumbnail, pixels.
    warnings : sequence of str
        What the reader should know of.

    Returns
    -------
    str
        The thumbnail: a small PNG of line and velocity map (of the white light if there is no
        line), base64.
    """
    white = white_light(view)
    with drawing():
        save_whole(draw_figure(view, maps, spectrum, white, warnings), Path(path))
    return draw_thumbnail(view, maps, white, thumbnail_width)


def draw_figure(view, maps, spectrum, white=None, warnings=()):
    """Draw the picture of a cube, as in `draw_cube`, without writing it.

    Parameters
    ----------
    view, maps, spectrum, warnings
        As in `draw_cube`.
    white : numpy.ndarray, optional
        The white light, if it is known already, shape ``(ny, nx)``.

    Returns
    -------
    `~matplotlib.figure.Figure`
        The figure, with an Agg canvas.
    """
    maps = tuple(maps)
    white = white_light(view) if white is None else white
    frame = frame_of(view)
    layout = lay_out(frame.limits(np.isfinite(white)), frame.labels)
    fields = layout.fields
    panels.draw_white_light(fields["white"], frame, white, spectrum.inside)
    panels.draw_time(fields["time"], frame, exposure_time(view))
    panels.draw_slits(fields["slits"], frame, view.slits)
    for name in ("white", "slits"):
        panels.draw_compass(fields[name].map, frame)
    panels.draw_scale_bar(fields["white"].map)
    if maps:
        _draw_line(layout, view, frame, maps, spectrum)
    else:
        _draw_no_line(layout, view, frame)
    plots.draw_spectrum(layout.plots["spectrum"], spectrum, maps)
    _write_header(layout.figure, view, maps, warnings)
    return layout.figure


def _draw_line(layout, view, frame, maps, spectrum):
    """Draw the panels of the strongest line."""
    fields, line = layout.fields, maps[0]
    panels.draw_line(fields["line"], frame, line)
    panels.draw_velocity(fields["velocity"], frame, line)
    panels.draw_dispersion(fields["dispersion"], frame, line)
    cut = major_axis_cut(line) or slit_cut(frame, view.slits, light_center(line))
    offsets = plots.draw_velocity_cut(layout.plots["cut"], layout.cut_bar, view, line, cut)
    panels.draw_cut(fields["velocity"].map, frame, cut, offsets)
    plots.draw_zoom(layout.plots["zoom"], spectrum, maps)


def _draw_no_line(layout, view, frame):
    """Say in the panels of the line that there is none; cut along the slits."""
    titles = {"line": "Line flux", "velocity": "Velocity", "dispersion": "Velocity dispersion"}
    for name, title in titles.items():
        layout.fields[name].bar.title(title)
        panels.say(layout.fields[name].map, NO_LINE.replace(" line", "\nline"))
    layout.join("cut", "zoom")
    plots.draw_wavelength_cut(
        layout.plots["cut"], layout.cut_bar, view, slit_cut(frame, view.slits)
    )


def _write_header(figure, view, maps, warnings):
    """Write what the cube is, in two lines, and the warnings."""
    name = view.name if view.name and view.name != view.title else ""
    figure.text(0.0125, 0.992, view.title, fontsize=15, weight="bold", va="top")
    facts = [name] if name else []
    if view.ra is not None and view.dec is not None:
        facts.append(heading(view.ra, view.dec))
    facts += [view.grating] if view.grating else []
    facts += _of_line(maps) + _of_cube(view)
    figure.text(0.0125, 0.9635, "   ·   ".join(facts), va="top")
    if warnings:
        text = textwrap.shorten("Warnings: " + "; ".join(warnings), 150, placeholder=" …")
        figure.text(0.9825, 0.99, text, va="top", ha="right", color=VERMILION, weight="bold")


def _of_line(maps):
    """Tell of the strongest line."""
    if not maps:
        return [NO_LINE]
    line = maps[0]
    facts = [] if line.redshift is None else [f"z = {line.redshift:.4f}"]
    flux = measured(line.total_flux, line.total_flux_err)
    return [*facts, f"{line_name(line.name)}: {flux} erg s⁻¹ cm⁻², S/N {line.total_snr:.0f}"]


def _of_cube(view):
    """Tell of the cube."""
    rows, columns = view.data.shape[1:]
    facts = [f"{columns} \u00d7 {rows} spaxels of {view.scale:.3g}″"]
    if view.slits is not None and view.slits.ra.size:
        places = counted(unique_slits(view.slits).size, "pointing")
        facts.append(f"{counted(view.slits.ra.size, 'cutout')} of {places}")
    return facts


def draw_thumbnail(view, maps, white, width=320):
    """Draw line and velocity map side by side, or the white light where there is no line.

    Parameters
    ----------
    view : ~msa3d_steps.quicklook.view.CubeView
        The cube.
    maps : sequence of LineMaps
        Maps of the lines, the strongest first; may be empty.
    white : numpy.ndarray
        The white light, shape ``(ny, nx)``.
    width : int
        Of the thumbnail, pixels.

    Returns
    -------
    str
        A PNG, base64.
    """
    from matplotlib.colors import Normalize
    from PIL import Image

    frame = frame_of(view)
    if maps:
        line = maps[0]
        middle, half = panels.velocity_range(line)
        norm = Normalize(middle - half, middle + half)
        images = [
            _colours(line.flux, "line", panels.stretch(line.flux)),
            _colours(line.velocity, "velocity", norm, (line.mask & 1) == 0),
        ]
    else:
        images = [_colours(white, "white", panels.stretch(white, zero=False))]
    box = (width - 4 * (len(images) - 1)) // len(images), width // 2
    tiles = [_tile(image, frame, np.isfinite(white), box) for image in images]
    sheet = Image.new("RGB", (width, max(tile.height for tile in tiles)), "white")
    for number, tile in enumerate(tiles):
        left = number * (box[0] + 4) + (box[0] - tile.width) // 2
        sheet.paste(tile, (left, (sheet.height - tile.height) // 2))
    buffer = io.BytesIO()
    sheet.quantize(256).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _colours(image, kind, norm, grey=None):
    """Give the colours of a map, shape ``(ny, nx, 3)``, uint8."""
    from matplotlib import colormaps
    from matplotlib.colors import to_rgb

    shown = np.ma.masked_invalid(image)
    colours = colormaps[MAPS[kind]](norm(shown))[..., :3]
    empty = np.ma.getmaskarray(shown)
    colours[empty] = 1
    if grey is not None:
        colours[empty & grey] = to_rgb(MASKED)
    return (colours * 255).round().astype(np.uint8)


def _tile(colours, frame, covered, box):
    """Cut a map to what is covered and enlarge it to fit a box, as on the sky."""
    from PIL import Image

    if covered.any():
        rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
        colours = colours[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    colours = colours[::-1, :: int(np.sign(frame.step[0]) * frame.to_right)]
    height, width = colours.shape[:2]
    size = width * abs(frame.step[0]), height * abs(frame.step[1])
    scale = min(box[0] / size[0], box[1] / size[1])
    size = [max(round(side * scale), 1) for side in size]
    return Image.fromarray(np.ascontiguousarray(colours)).resize(size, Image.Resampling.NEAREST)
