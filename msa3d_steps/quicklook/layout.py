"""Where the panels of the picture of a cube are."""

from dataclasses import dataclass

import numpy as np

from msa3d_steps.quicklook.style import DPI, INK, round_values

__all__ = ["SIZE", "Bar", "Layout", "Panel", "label_axes", "lay_out", "new_figure", "part_of"]

SIZE = 1600, 1000
"""Width and height of the picture, pixels."""

MAPS = "white", "line", "velocity", "slits", "time", "dispersion"
"""Panels of the field, in rows of three."""

LEFT, COLUMN, WIDTH = 62, 335, 312
BASES, HEIGHT = (606, 270), 268
BAR, ABOVE = 9, 20
"""Places of the panels of the field: left side of the first, distance of columns, width; lower
side of the rows, height; height of the colour bars and distance to the map, pixels."""

PLOTS = {
    "cut": (1132, 606, 440, 268),
    "zoom": (1132, 270, 440, 268),
    "spectrum": (62, 48, 1510, 146),
}
"""Left, lower side, width and height of the other panels, pixels."""

CUT_BAR = 1132, 894, 440, 9

LETTER = 7
"""Width of a digit of a colour bar, pixels."""


@dataclass(frozen=True)
class Bar:
    """The place of a colour bar, with what is written above and below it.

    A bar is drawn into the picture itself: axes of its own would take five times as long.

    Attributes
    ----------
    figure : `~matplotlib.figure.Figure`
        The picture.
    left, bottom, width, height : int
        Pixels.
    """

    figure: object
    left: int
    bottom: int
    width: int
    height: int

    def draw(self, shown, words, ticks=None):
        """Draw the bar.

        Parameters
        ----------
        shown : `~matplotlib.cm.ScalarMappable`
            What has the colours.
        words : str
            What is shown, with its unit.
        ticks : dict of float to str, optional
            The numbers to write and how.
        """
        from matplotlib.collections import LineCollection
        from matplotlib.patches import Rectangle
        from matplotlib.transforms import IdentityTransform

        if ticks is None:
            values = _round_values(shown.norm)
            ticks = {value: f"{value:.6g}".replace("-", "\u2212") for value in values}
        colours = shown.cmap(np.linspace(0, 1, self.width))
        self.figure.figimage(
            np.repeat(colours[None], self.height, axis=0), xo=self.left, yo=self.bottom
        )
        top = self.bottom + self.height
        places = {
            self.left + self.width * float(_part_of_bar(shown.norm, shown.cmap, value)): label
            for value, label in ticks.items()
        }
        lines = [[(x, top), (x, top + 3.5)] for x in places]
        pixels = {"transform": IdentityTransform(), "linewidth": 0.7}
        self.figure.add_artist(LineCollection(lines, colors=INK, **pixels))
        frame = (self.left, self.bottom), self.width, self.height
        self.figure.add_artist(Rectangle(*frame, fill=False, edgecolor=INK, **pixels))
        taken = []
        for x, label in places.items():
            half = LETTER * len(label) / 2
            # neighbouring bars leave room for some pixels
            at = float(np.clip(x, self.left + half - 6, self.left + self.width - half + 6))
            if all(abs(at - other) > half + more + 4 for other, more in taken):
                self._write(at, top + 5.5, label, ha="center", va="bottom", fontsize=8.5)
                taken.append((at, half))
        self.title(words)

    def title(self, words):
        """Name what is shown, above the bar or where it would be."""
        self._write(self.left, self.bottom + self.height + 21, words, va="baseline")

    def note(self, words):
        """Write a line below the bar."""
        self._write(self.left, self.bottom - 4, words, va="top", fontsize=8, color="0.35")

    def _write(self, x, y, words, **style):
        from matplotlib.transforms import IdentityTransform

        self.figure.text(x, y, words, transform=IdentityTransform(), **style)


@dataclass(frozen=True)
class Panel:
    """A map and its colour bar.

    Attributes
    ----------
    map : `~matplotlib.axes.Axes`
        Where it is drawn.
    bar : Bar
        The place above it.
    """

    map: object
    bar: Bar


@dataclass(frozen=True)
class Layout:
    """The panels of a picture.

    Attributes
    ----------
    figure : `~matplotlib.figure.Figure`
        All of it.
    fields : dict of str to Panel
        Maps of the field, by name.
    plots : dict of str to `~matplotlib.axes.Axes`
        The other panels, by name.
    cut_bar : Bar
        The colour bar of the cut.
    """

    figure: object
    fields: dict
    plots: dict
    cut_bar: Bar

    def join(self, upper, lower):
        """Give one of the other panels the place of another that is below it, too."""
        (left, _, width, _), low = self.plots[upper].get_position().bounds, self.plots[lower]
        bottom, top = low.get_position().y0, self.plots[upper].get_position().y1
        self.plots[upper].set_position((left, bottom, width, top - bottom))
        self.figure.delaxes(low)


def new_figure(size):
    """Make a figure that knows nothing of windows.

    Parameters
    ----------
    size : tuple of int
        Width and height, pixels.

    Returns
    -------
    `~matplotlib.figure.Figure`
        The figure, with an Agg canvas.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=np.array(size) / DPI, dpi=DPI)
    FigureCanvasAgg(figure)
    return figure


def part_of(size, left, bottom, width, height):
    """Turn pixels into parts of a picture of a size."""
    return left / size[0], bottom / size[1], width / size[0], height / size[1]


def lay_out(limits, labels):
    """Make the panels.

    Parameters
    ----------
    limits : tuple of float
        Left, right, bottom and top of the field, arcsec.
    labels : tuple of str
        Names of the two axes of the field.

    Returns
    -------
    Layout
        Empty panels; those of the field have the same axes.
    """
    figure = new_figure(SIZE)
    fields = {name: _field(figure, i, limits, labels) for i, name in enumerate(MAPS)}
    plots = {name: figure.add_axes(part_of(SIZE, *place)) for name, place in PLOTS.items()}
    return Layout(figure, fields, plots, Bar(figure, *CUT_BAR))


def _part_of_bar(norm, cmap, value):
    """Give where a value is on a bar; numbered colours have theirs in the middle."""
    from matplotlib.colors import BoundaryNorm

    return (norm(value) + 0.5) / cmap.N if isinstance(norm, BoundaryNorm) else norm(value)


def _round_values(norm):
    """Choose round numbers for a bar, none too close to another."""
    from matplotlib.colors import AsinhNorm
    from matplotlib.ticker import MaxNLocator

    if not isinstance(norm, AsinhNorm):
        values = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(norm.vmin, norm.vmax)
        return values[(values >= norm.vmin) & (values <= norm.vmax)]
    return np.array(round_values(norm, norm.vmin, norm.vmax, 0.13))


def label_axes(axes, x, y):
    """Name the axes, at places that do not depend on the numbers."""
    height = axes.get_position().height * SIZE[1]
    width = axes.get_position().width * SIZE[0]
    axes.set_xlabel(x)
    axes.xaxis.set_label_coords(0.5, -21 / height)
    axes.set_ylabel(y)
    axes.yaxis.set_label_coords(-46 / width, 0.5)


def _field(figure, number, limits, labels):
    """Make a panel of the field: as large as fits, an arcsec of the same length in x and y."""
    from matplotlib.ticker import MaxNLocator

    row, column = divmod(number, 3)
    left, bottom = LEFT + column * COLUMN, BASES[row]
    sides = np.array([abs(limits[1] - limits[0]), abs(limits[3] - limits[2])])
    width, height = sides * min(WIDTH / sides[0], HEIGHT / sides[1])
    axes = figure.add_axes(
        part_of(SIZE, left + (WIDTH - width) / 2, bottom + HEIGHT - height, width, height)
    )
    axes.set_xlim(*limits[:2])
    axes.set_ylim(*limits[2:])
    axes.set_facecolor("white")
    axes.xaxis.set_major_locator(MaxNLocator(max(round(width / 34), 2), steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(max(round(height / 36), 2), steps=[1, 2, 5, 10]))
    label_axes(axes, labels[0] if row == 1 else "", labels[1] if column == 0 else "")
    axes.tick_params(labelbottom=row == 1, labelleft=column == 0, direction="in")
    axes.set_label(MAPS[number])
    return Panel(axes, Bar(figure, left, bottom + HEIGHT + ABOVE, WIDTH, BAR))
