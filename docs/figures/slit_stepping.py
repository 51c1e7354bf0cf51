"""Draw what slit stepping is: ``python docs/figures/slit_stepping.py SURVEY CUBE PICTURE``.

SURVEY is the folder of a simulated survey with cal files, CUBE the cube of one of its galaxies. For
the README::

    msa3d_simulate survey --config=docs/figures/slit_stepping.toml
    strun msa3d_cube survey/jw09999-o001_asn.json --scalexy=0.055 --output_dir=survey
    python docs/figures/slit_stepping.py survey survey/*_s3d.fits docs/images/slit_stepping.png
"""

import sys
from pathlib import Path

import numpy as np
from astropy.io import fits
from matplotlib.colors import AsinhNorm
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from msa3d_steps import MSACubeModel
from msa3d_steps.quicklook.core import look
from msa3d_steps.quicklook.view import view_of
from msa3d_steps.simulate.record import read_truth
from msa3d_steps.simulate.scene.sources import Scene
from msa3d_steps.simulate.scene.truth import read_grid, truth_cube

LINE = "[OIII]5007"
COLOURS = ["#332288", "#0072b2", "#56b4e9", "#009e73", "#e69f00", "#d55e00", "#aa4499"]
"""One for each step, all told apart by the colour-blind."""

COLUMNS = 22
"""Of the detector, on each side of the line."""

EDGE = 6
"""Rows at either end of a slit that are not drawn."""

HALF = 1.0
"""Half the width of the field, arcsec."""


def main(survey, path, picture):
    """Draw the figure."""
    cube = MSACubeModel(path)
    view = view_of(cube)
    truth = read_truth(survey)
    source = truth.source(cube.meta.msa3d.source_id)
    line = next(line for line in source.lines if line.name == LINE)
    found = look(view, [LINE], source.redshift)
    fig = Figure(figsize=(12.5, 3.5), layout="constrained")
    sky, exposures, flux, velocity = fig.subplots(1, 4, width_ratios=[1, 0.75, 1, 1])
    draw_sky(sky, scene_image(truth, source, line, path), view)
    draw_exposures(exposures, survey, cube.exposure_table, source.observed(line))
    draw_maps(fig, flux, velocity, found.maps[0], view)
    fig.savefig(picture, dpi=120)


def scene_image(truth, source, line, path):
    """Image of a galaxy in a line, as sharp as the telescope makes it."""
    grid = read_grid(path)
    centre = source.observed(line)
    grid = grid.window(centre - 0.0015, centre + 0.0015)
    factor = 5
    fine = type(grid)(
        grid.ra, grid.dec, grid.position_angle, grid.scale / factor, grid.nx * factor,
        grid.ny * factor, grid.wavelengths, grid.bandpass,
    )  # fmt: skip
    image = truth_cube(Scene((source,), 0.0, 0.0), truth.psf, fine).mean(axis=0)
    return image, fine.scale


def draw_sky(panel, scene, view):
    """Draw the galaxy and the slits of one dither."""
    image, scale = scene
    ny, nx = image.shape
    extent = np.array([nx, -nx, -ny, ny]) * scale / 2
    panel.imshow(
        image, origin="lower", extent=extent, cmap="Greys", norm=AsinhNorm(image.max() / 8)
    )
    slits = view.slits
    ra, dec = view.wcs.wcs.crval
    for i in np.flatnonzero(slits.dither == np.median(slits.dither)):
        x = (slits.ra[i] - ra) * np.cos(np.deg2rad(dec)) * 3600
        y = (slits.dec[i] - dec) * 3600
        angle = np.deg2rad(slits.position_angle[i])
        along = np.array([np.sin(angle), np.cos(angle)]) * slits.length[i] / 2
        across = np.array([np.cos(angle), -np.sin(angle)]) * slits.width[i] / 2
        corners = [np.array([x, y]) + a * along + b * across
                   for a, b in ((-1, -1), (-1, 1), (1, 1), (1, -1))]  # fmt: skip
        colour = COLOURS[slits.step[i] % len(COLOURS)]
        panel.add_patch(Polygon(corners, facecolor=colour, alpha=0.12))
        panel.add_patch(Polygon(corners, facecolor="none", edgecolor=colour, lw=1.5))
    panel.set(xlim=(HALF, -HALF), ylim=(-HALF, HALF), xlabel="arcsec east", ylabel="arcsec north")
    panel.set_title("slits step over a galaxy")


def draw_exposures(panel, survey, table, wavelength):
    """Draw the spectra of the steps on the detector, about a line."""
    panel.set_axis_off()
    panel.set_title("a spectrum each time")
    rows = table[table["dither"] == np.median(table["dither"])]
    steps = sorted(set(rows["step"]))
    cut = {step: spectrum_near(survey, rows[rows["step"] == step], wavelength) for step in steps}
    top = max(np.nanpercentile(image, 99.7) for image in cut.values())
    height = 1 / len(steps)
    for number, step in enumerate(steps):
        inset = panel.inset_axes([0, 1 - (number + 1) * height + 0.01, 1, height - 0.02])
        inset.imshow(
            cut[step], origin="lower", aspect="auto", cmap="Greys", norm=AsinhNorm(top / 6, 0, top)
        )
        inset.set(xticks=[], yticks=[])
        for spine in inset.spines.values():
            spine.set(color=COLOURS[step % len(COLOURS)], lw=2)


def spectrum_near(survey, rows, wavelength):
    """Cut a slit's exposure about a wavelength, from the detector that has it."""
    for row in rows:
        with fits.open(Path(survey) / row["file"]) as file:
            number = next(
                h.ver for h in file if h.name == "SCI" and h.header["SLTNAME"] == row["slit"]
            )
            data, lam = file["SCI", number].data, file["WAVELENGTH", number].data
        if np.nanmin(lam) < wavelength < np.nanmax(lam):
            middle = int(np.nanargmin(np.abs(lam[lam.shape[0] // 2] - wavelength)))
            return data[EDGE:-EDGE, middle - COLUMNS : middle + COLUMNS + 1]
    raise ValueError("no detector has the line")


def draw_maps(fig, flux, velocity, maps, view):
    """Draw line map and velocity field of the cube."""
    ny, nx = maps.flux.shape
    extent = np.array([nx, -nx, -ny, ny]) * view.scale / 2
    shown = flux.imshow(maps.flux * 1e15, origin="lower", extent=extent, cmap="cividis", vmin=0)
    bar = {"location": "bottom", "shrink": 0.9, "pad": 0.01}
    fig.colorbar(shown, ax=flux, label="$10^{-15}$ erg s$^{-1}$ cm$^{-2}$ arcsec$^{-2}$", **bar)
    flux.set_title(f"the cube: {LINE.replace(']', '] ')}")
    fastest = np.nanmax(np.abs(maps.velocity))
    shown = velocity.imshow(
        maps.velocity, origin="lower", extent=extent, cmap="RdYlBu_r", vmin=-fastest, vmax=fastest
    )
    velocity.set_facecolor("0.85")
    fig.colorbar(shown, ax=velocity, label="km s$^{-1}$", **bar)
    velocity.set_title("its velocity field")
    for panel in (flux, velocity):
        panel.set(xlim=(HALF, -HALF), ylim=(-HALF, HALF), xticks=[], yticks=[])


if __name__ == "__main__":
    main(*sys.argv[1:])
