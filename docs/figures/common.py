"""What the figures are made of: a small survey of the simulator, and how a figure is saved."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from msa3d_steps.cube.combine import CombineOptions
from msa3d_steps.cube.grid import make_grid
from msa3d_steps.cube.inputs import Selection, collect_sources, find_members
from msa3d_steps.cube.layout import Layout
from msa3d_steps.cube.pattern import find_pattern
from msa3d_steps.simulate.config import Survey
from msa3d_steps.simulate.survey import write_survey

__all__ = [
    "BLUE",
    "GALAXY",
    "GREY",
    "ORANGE",
    "lay",
    "new_figure",
    "read_source",
    "save",
    "simulate",
]

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#777777"
"""Colours that the colour-blind tell apart (Wong 2011, Nature Methods 8, 441)."""

GALAXY = {
    "redshift": 1.65, "h_alpha": 40.0, "scale_length": 0.3, "inclination": 55.0,
    "position_angle": 60.0, "rotation": 220.0,
}  # fmt: skip


def simulate(folder):
    """Simulate the survey: a galaxy, G140H, 9 steps x 3 dithers, both detectors, without noise.

    Parameters
    ----------
    folder : str or pathlib.Path
        Where to.
    """
    write_survey(Survey(steps=9, dithers=3, noise=False, sources=(GALAXY,)), folder)


def read_source(folder):
    """Read the cutouts of the first source of a survey.

    Parameters
    ----------
    folder : pathlib.Path
        The survey, with cal files.

    Returns
    -------
    `~msa3d_steps.cube.sources.Source`
        Its cutouts.
    """
    members = find_members(sorted(folder.glob("*_cal.fits")))
    return collect_sources(members, Selection()).sources[0]


def lay(cutouts, options):
    """Lay cutouts on a grid.

    Parameters
    ----------
    cutouts : list of `~msa3d_steps.cube.sources.Cutout`
        The cutouts.
    options : `~msa3d_steps.cube.grid.GridOptions`
        The grid.

    Returns
    -------
    `~msa3d_steps.cube.layout.Layout`
        The cutouts on it, to be combined as drizzle.
    """
    grid = make_grid([c.footprint for c in cutouts], options, native_wave=False)
    return Layout(cutouts, find_pattern(cutouts), grid, CombineOptions())


def new_figure(width, height):
    """Give an empty figure that is drawn without a screen; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save(figure, path):
    """Write a figure as a small PNG without a date."""
    figure.savefig(path, dpi=110, metadata={"Software": None})
