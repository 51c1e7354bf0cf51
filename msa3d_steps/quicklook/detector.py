"""The picture of an exposure on its detector: where slitlets fall, what was flagged."""

from pathlib import Path

import numpy as np
from scipy.ndimage import binary_erosion

from msa3d_steps.quicklook.exposure import FLAGS, blocks, flag_shares, read_exposure
from msa3d_steps.quicklook.layout import Bar, new_figure, part_of
from msa3d_steps.quicklook.style import drawing, halo, save_whole
from msa3d_steps.words import counted

__all__ = ["draw_detector", "draw_exposure"]

SIZE = 1600, 900
"""Width and height of the picture, pixels."""

PANELS = {
    "image": (58, 50, 725, 730),
    "flags": (852, 50, 725, 730),
}
"""Left, lower side, width and height, pixels."""

BAR = 58, 795, 725, 9

COLORS = {
    "OUTLIER": "#d55e00",
    "SATURATED": "#cc79a7",
    "JUMP_DET": "#0072b2",
    "DO_NOT_USE": "#4d4d4d",
}
"""Of the flags; colour-blind readers can tell them apart (Okabe & Ito 2008)."""

CROWD = 40
"""Number of slitlets from which on names are at both ends."""

ENDS = 3
"""Rows at either end of a slitlet that do not set the range of colours: their noise is high."""

UNFLAGGED = "#ececec"
"""Colour of pixels that have none of the flags."""


def draw_exposure(source, path):
    """Draw an exposure on its detector.

    Parameters
    ----------
    source : str, pathlib.Path or `~stdatamodels.jwst.datamodels.JwstDataModel`
        A rate, cal or crf file, or an ``ImageModel``, ``MultiSlitModel`` or ``SlitModel``.
    path : str or pathlib.Path
        The PNG file, 1600 x 900 pixels; written whole or not at all.

    Returns
    -------
    pathlib.Path
        The picture.

    Raises
    ------
    InputError
        If it is no such exposure.
    """
    exposure = read_exposure(source)
    with drawing():
        save_whole(draw_detector(exposure), Path(path))
    return Path(path)


def draw_detector(exposure):
    """Draw an exposure, as in `draw_exposure`, without writing it.

    Parameters
    ----------
    exposure : ~msa3d_steps.quicklook.exposure.Exposure
        The exposure.

    Returns
    -------
    `~matplotlib.figure.Figure`
        The figure, with an Agg canvas.
    """
    figure = new_figure(SIZE)
    axes = {name: figure.add_axes(part_of(SIZE, *place)) for name, place in PANELS.items()}
    rows, columns = _shown(exposure)
    for name in ("image", "flags"):
        axes[name].set_xlim(columns.start - 0.5, columns.stop - 0.5)
        axes[name].set_ylim(rows.start - 0.5, rows.stop - 0.5)
        axes[name].set_xlabel("Column (0-based pixel)", labelpad=2)
    axes["image"].set_ylabel("Row (0-based pixel)", labelpad=2)
    _draw_image(axes["image"], Bar(figure, *BAR), exposure, rows, columns)
    _draw_outlines(axes["image"], exposure.slitlets)
    _draw_flags(axes["flags"], exposure, rows, columns)
    _write_header(figure, exposure)
    return figure


def _shown(exposure):
    """Give the rows and columns to show: those of the slitlets with some space about them."""
    shape = exposure.image.shape
    if not exposure.slitlets or not exposure.lit.any():
        return slice(0, shape[0]), slice(0, shape[1])
    shown = []
    for axis, size in enumerate(shape):
        lit = np.flatnonzero(exposure.lit.any(axis=1 - axis))
        space = 4 + (lit[-1] - lit[0]) // 40
        shown.append(slice(max(int(lit[0]) - space, 0), min(int(lit[-1]) + space + 1, size)))
    return tuple(shown)


def _block(rows, columns):
    """Give rows and columns of a block that is a pixel of the picture at most."""
    _, _, width, height = PANELS["image"]
    return (
        max(-(-(rows.stop - rows.start) // height), 1),
        max(-(-(columns.stop - columns.start) // width), 1),
    )


def _extent(rows, columns, shape, size):
    """Give the sides of an image of blocks, pixels of the detector."""
    right, top = columns.start + shape[1] * size[1], rows.start + shape[0] * size[0]
    return columns.start - 0.5, right - 0.5, rows.start - 0.5, top - 0.5


def _draw_image(axes, bar, exposure, rows, columns):
    """Draw what was measured."""
    size = _block(rows, columns)
    image = blocks(exposure.image[rows, columns], size)
    shown = axes.imshow(
        np.ma.masked_invalid(image), origin="lower", aspect="auto", cmap="viridis",
        norm=_colour_range(exposure, rows, columns), interpolation="nearest",
        extent=_extent(rows, columns, image.shape, size),
    )  # fmt: skip
    unit = exposure.unit.replace("MJy/sr", "MJy sr⁻¹").replace("DN/s", "DN s⁻¹")
    bar.draw(shown, f"Image ({unit or 'unit unknown'})")


def _colour_range(exposure, rows, columns):
    """Choose colours that show faint traces and bright lines, whatever the ends of slitlets are.

    They follow an asinh, linear up to twice the noise, from 4 times the noise below the median to
    the 99.7th percentile. The noise is that of the dark half of what is shown.
    """
    from matplotlib.colors import AsinhNorm

    inner = binary_erosion(exposure.lit[rows, columns], np.ones((2 * ENDS + 1, 1)))
    image = exposure.image[rows, columns]
    shown = blocks(np.where(inner, image, np.nan), _block(rows, columns))
    if not np.isfinite(shown).any():
        shown = image
    good = shown[np.isfinite(shown)]
    if not good.size:
        return AsinhNorm(1.0, 0.0, 1.0)
    low, middle, high = np.percentile(good, [16, 50, 99.7])
    noise = (middle - low) or (high - middle) / 10 or 1.0
    return AsinhNorm(2 * noise, middle - 4 * noise, max(high, middle + 10 * noise))


def _draw_outlines(axes, slitlets):
    """Draw the outlines of slitlets and name their sources, at both ends in turn where crowded."""
    from matplotlib.collections import PolyCollection

    if not slitlets:
        return
    slitlets = sorted(slitlets, key=lambda slitlet: slitlet.y)
    outlines = [slitlet.outline() for slitlet in slitlets]
    axes.add_collection(
        PolyCollection(outlines, facecolors="none", edgecolors=COLORS["OUTLIER"], linewidths=0.8),
        autolim=False,
    )
    for number, (slitlet, outline) in enumerate(zip(slitlets, outlines, strict=True)):
        right = len(slitlets) > CROWD and number % 2
        x = outline[:, 0].max() if right else outline[:, 0].min()
        y = outline[outline[:, 0] == x, 1].mean()
        axes.annotate(
            slitlet.label, (x, y), (-3 if right else 3, 0), textcoords="offset points",
            ha="right" if right else "left", va="center", fontsize=8, path_effects=halo(),
            annotation_clip=True,
        )  # fmt: skip


def _draw_flags(axes, exposure, rows, columns):
    """Draw the flags: the more pixels of a block have one, the stronger its colour."""
    from matplotlib.patches import Patch

    size = _block(rows, columns)
    colours = flag_colours(exposure.dq[rows, columns], exposure.lit[rows, columns], size)
    axes.imshow(
        colours, origin="lower", aspect="auto", interpolation="nearest",
        extent=_extent(rows, columns, colours.shape, size),
    )  # fmt: skip
    shares = flag_shares(exposure)
    handles = [
        Patch(facecolor=COLORS[name], edgecolor="none", label=f"{name} {shares[name]:.2%}")
        for name in FLAGS
    ]
    axes.legend(
        handles=handles, ncols=4, loc="lower left", bbox_to_anchor=(-0.005, 1.003), frameon=False,
        handlelength=1, handleheight=1, handletextpad=0.5, columnspacing=1.6, borderpad=0,
    )  # fmt: skip
    of = "pixels of the slitlets" if exposure.slitlets else "pixels"
    axes.set_title(f"Flags (part of the {of})", loc="left", pad=32)


def flag_colours(dq, lit, size):
    """Give the colours of the flags of blocks of pixels.

    A block has the mean colour of its flagged pixels, mixed into that of unflagged ones by the root
    of their share, so that a single pixel is still seen.

    Parameters
    ----------
    dq : numpy.ndarray
        Flags, shape ``(rows, columns)``.
    lit : numpy.ndarray of bool
        Pixels that count, the same shape; others are white.
    size : tuple of int
        Rows and columns of a block.

    Returns
    -------
    numpy.ndarray
        Red, green and blue, 0 to 1, shape ``(n_rows, n_columns, 3)``, float32.
    """
    from matplotlib.colors import to_rgb

    left, shares = np.array(lit), []
    for bit in FLAGS.values():
        flagged = left & (dq & bit > 0)
        left &= ~flagged
        shares.append(blocks(flagged, size))
    shares = np.stack(shares)
    counted_share = blocks(lit, size)
    flagged = shares.sum(axis=0)
    palette = np.array([to_rgb(COLORS[name]) for name in FLAGS], np.float32)
    mean = np.einsum("kyx,kc->yxc", shares, palette) / np.maximum(flagged, 1e-9)[..., None]
    part = np.divide(flagged, counted_share, out=np.zeros_like(flagged), where=counted_share > 0)
    strength = np.sqrt(part)[..., None]
    colours = strength * mean + (1 - strength) * np.array(to_rgb(UNFLAGGED), np.float32)
    return np.where(counted_share[..., None] > 0, colours, np.float32(1)).clip(0, 1)


def _write_header(figure, exposure):
    """Write what the exposure is."""
    figure.text(0.0125, 0.99, exposure.title, fontsize=15, weight="bold", va="top")
    facts = [f for f in (exposure.detector, exposure.optics) if f]
    if exposure.time:
        facts.append(f"{exposure.time:g} s")
    if exposure.slitlets:
        facts.append(counted(len(exposure.slitlets), "slitlet"))
    figure.text(0.0125, 0.9585, "   ·   ".join(facts), va="top")
