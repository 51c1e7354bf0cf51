"""Simulate slope images, make cubes of them, hold these against the truth: ``make demo``."""

import logging
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from msa3d_steps import MSACubeModel
from msa3d_steps.quicklook.lines import LineChoice
from msa3d_steps.quicklook.moments import map_line
from msa3d_steps.quicklook.view import view_of
from msa3d_steps.simulate.record import read_truth
from msa3d_steps.simulate.scene.measure import drizzled, line_window, measure_line
from msa3d_steps.simulate.scene.sources import SPEED_OF_LIGHT, Scene
from msa3d_steps.simulate.scene.truth import expected_cube, read_grid

HERE = Path(__file__).parent
OUT = HERE / "demo"
SURVEY, CUBES, PICTURE = OUT / "survey", OUT / "cubes", OUT / "demo.png"
PAGE = CUBES / "index.html"
NO_SERVER = "https://jwst-serverless-mode.stsci.edu"
LINE = "[OIII]5007"
RADIUS = 0.45  # arcsec about a galaxy in which its flux is measured
WINDOW = 3600.0  # km/s on either side of the line that its maps are made of


def main():
    """Simulate, build, measure and draw."""
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    OUT.mkdir(exist_ok=True)
    run("msa3d_simulate", SURVEY, "--level=rate", "--maximum-cores=all")
    references = {"CRDS_PATH": str(SURVEY / "crds"), "CRDS_SERVER_URL": NO_SERVER}
    run("msa3d_asn", SURVEY, "-o", CUBES, "--overwrite")
    (run_file,) = CUBES.glob("*_msa3d.asdf")
    run("strun", run_file, f"--output_dir={CUBES}", "--maximum_cores=all", **references)
    truth = read_truth(SURVEY)
    galaxies = [Comparison(truth, path) for path in sorted(CUBES.glob("*_s3d.fits"))]
    print(f"\n{LINE}, cube beside truth (the scene through point spread function and slits)\n")
    print("source      flux, 1e-20 W/m2      centroid off by   rotation, km/s   velocity field")
    print("            cube          truth   east   north      cube   truth     chi2  spaxels")
    for galaxy in galaxies:
        print(galaxy.row())
    chi2, number = np.sum([galaxy.velocities() for galaxy in galaxies], axis=0)
    print(f"all together{chi2 / number:65.2f} {number:6.0f}")
    print("\nchi2: mean of ((velocity - truth) / error)^2 over the spaxels with S/N > 5\n")
    draw(galaxies)
    for name, path in (("page", PAGE), ("cubes", CUBES), ("beside the truth", PICTURE)):
        print(f"{name:18}{path.relative_to(HERE)}")


def run(command, *arguments, **environment):
    """Run a command of the package and show it."""
    words = [str(a).replace(f"{HERE}/", "") for a in arguments]
    settings = [f"{name}={value.replace(f'{HERE}/', '')}" for name, value in environment.items()]
    print("\n$", *settings, command, *words, flush=True)
    path = Path(sys.executable).with_name(command)
    subprocess.run(  # noqa: S603 - our own command
        [str(path), *words], check=True, cwd=HERE, env=os.environ | environment
    )


class Comparison:
    """A galaxy's line in its cube and in the truth."""

    def __init__(self, truth, path):
        self.model = MSACubeModel(path)
        view = view_of(self.model)
        self.label, source_id = view.title, self.model.meta.msa3d.source_id
        self.source = truth.source(source_id)
        self.line = next(line for line in self.source.lines if line.name == LINE)
        scene = Scene((self.source,), truth.scene.zodiacal, truth.scene.zodiacal_slope)
        self._map(view, read_grid(path), lambda grid: expected_cube(
            scene, truth.psf, grid, truth.cutouts(source_id)
        ))  # fmt: skip
        x, y = np.meshgrid(*self.grid.axes())
        across, along = self.grid.coordinates(self.source, *np.zeros((2, 1)))
        self.inside = np.hypot(x - across, y - along) < RADIUS
        self.inside &= self.covered & np.isfinite(self.cube).all(axis=0)
        self.spectrum = np.nanmean(np.where(self.inside, self.cube, np.nan), axis=(1, 2))
        self.expected = np.nanmean(np.where(self.inside, self.truth, np.nan), axis=(1, 2))

    def _map(self, view, grid, expected):
        """Cut cube and truth about the line, and map it in both."""
        centre = self.source.observed(self.line)
        choice = LineChoice(LINE, self.line.wavelength, centre, self.source.redshift)
        low, high = centre * (1 - WINDOW / SPEED_OF_LIGHT), centre * (1 + WINDOW / SPEED_OF_LIGHT)
        near = (grid.wavelengths >= low) & (grid.wavelengths <= high)
        data, err = view.data[near].astype(float), view.err[near].astype(float)
        grid = grid.window(low, high)
        truth, covered = expected(grid)
        self.covered = (covered > 0.9).all(axis=0)
        part = replace(view, data=data, err=err, wavelengths=view.wavelengths[near], etime=None)
        self.maps = map_line(part, choice)
        self.true_maps = map_line(replace(part, data=drizzled(truth)), choice, snr=0)
        low, high = line_window(self.source, self.line)
        near = (grid.wavelengths >= low) & (grid.wavelengths <= high)
        self.grid = grid.window(low, high)
        self.cube, self.err, self.truth = data[near], err[near], truth[near]

    def velocities(self):
        """Sum up the squares of the velocities' differences over their errors, and count them."""
        good = (self.maps.snr > 5) & (self.maps.mask == 0) & self.covered
        off = (self.maps.velocity - self.true_maps.velocity) / self.maps.velocity_err
        return np.nansum(off[good] ** 2), good.sum()

    def row(self):
        """Word a line of the table."""
        arguments = self.source, self.line, self.grid
        cube = measure_line(*arguments, self.cube, self.err, self.inside)
        truth = measure_line(*arguments, self.truth, None, self.inside)
        unit = self.line.flux / self.source.line_brightness(self.line)
        factor = self.model.correlation_factor(self.inside.sum(), 10)
        chi2, number = self.velocities()
        east, north = 1e3 * (cube.east - truth.east), 1e3 * (cube.north - truth.north)
        return (
            f"{self.label}  {cube.flux * unit:5.2f} +- {factor * cube.flux_error * unit:4.2f} "
            f"{truth.flux * unit:6.2f}   {east:+5.1f}  {north:+5.1f} mas  {cube.rotation:5.1f}   "
            f"{truth.rotation:5.1f}    {chi2 / number:5.2f} {number:6d}"
        )


def draw(galaxies):
    """Draw line map, velocity map and spectrum of each galaxy: cube beside truth."""
    fig = Figure(figsize=(13, 2.7 * len(galaxies)), layout="constrained")
    axes = fig.subplots(len(galaxies), 5, width_ratios=[1, 1, 1, 1, 1.5], squeeze=False)
    for row, galaxy in zip(axes, galaxies, strict=True):
        draw_maps(fig, row[:4], galaxy)
        draw_spectrum(row[4], galaxy)
    for panel, title in zip(
        axes[0],
        (f"{LINE}, cube", f"{LINE}, truth", "velocity, cube", "velocity, truth", "spectrum"),
        strict=True,
    ):
        panel.set_title(title)
    fig.savefig(PICTURE, dpi=110)


def draw_maps(fig, panels, galaxy):
    """Draw the maps of a galaxy."""
    maps = galaxy.maps, galaxy.true_maps
    x, y = galaxy.grid.axes()
    half = galaxy.grid.scale / 2
    extent = (-x[0] + half, -x[-1] - half, y[0] - half, y[-1] + half)
    peak = np.nanmax(galaxy.true_maps.flux)
    good = np.isfinite(galaxy.maps.velocity) & galaxy.covered
    fastest = np.nanmax(np.abs(galaxy.true_maps.velocity[good]))
    for panel, found in zip(panels[:2], maps, strict=True):
        shown = panel.imshow(
            found.flux * 1e15, origin="lower", extent=extent, cmap="cividis", vmin=0,
            vmax=peak * 1e15,
        )  # fmt: skip
    fig.colorbar(shown, ax=panels[1], label="$10^{-15}$ erg/s/cm²/arcsec²", shrink=0.9)
    for panel, found in zip(panels[2:4], maps, strict=True):
        shown = panel.imshow(
            np.where(good, found.velocity, np.nan), origin="lower", extent=extent,
            cmap="RdYlBu_r", vmin=-fastest, vmax=fastest,
        )  # fmt: skip
    fig.colorbar(shown, ax=panels[3], label="km/s", shrink=0.9)
    for panel in panels:
        panel.set(xlim=(0.9, -0.9), ylim=(-0.9, 0.9), xlabel="arcsec east")
    panels[0].set_ylabel(f"{galaxy.label}\narcsec north")


def draw_spectrum(panel, galaxy):
    """Draw the mean spectrum of a galaxy about its line."""
    lam = galaxy.grid.wavelengths
    panel.step(lam, galaxy.spectrum, where="mid", color="#0072b2", lw=1.2, label="cube")
    panel.plot(lam, galaxy.expected, color="#d55e00", lw=1, label="truth")
    panel.set(xlabel="wavelength (um)", ylabel="MJy/sr")
    panel.legend(frameon=False)


if __name__ == "__main__":
    main()
