"""Simulate slope images, make cubes of them, hold these against the truth: ``make demo``."""

import logging
import os
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
from astropy.io import fits

from msa3d_steps.simulate.record import read_truth
from msa3d_steps.simulate.scene.measure import line_window, measure_line, velocity_map
from msa3d_steps.simulate.scene.sources import Scene
from msa3d_steps.simulate.scene.truth import expected_cube, read_grid

HERE = Path(__file__).parent
OUT = HERE / "demo"
SURVEY, CUBES, PICTURE = OUT / "survey", OUT / "cubes", OUT / "demo.png"
NO_SERVER = "https://jwst-serverless-mode.stsci.edu"
LINE = "[OIII]5007"
RADIUS = 0.45  # arcsec about a galaxy in which its flux is measured


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
    print("source       redshift   flux, 1e-20 W/m2       centroid off by   rotation, km/s")
    print("                        cube          truth    east   north      cube   truth")
    for galaxy in galaxies:
        print(galaxy.row())
    print("\n+- takes voxels as independent; they share pixels, so that a sum's error is larger")
    draw(galaxies)
    print(f"\ncubes    {CUBES.relative_to(HERE)}/\npicture  {PICTURE.relative_to(HERE)}")


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
        with fits.open(path) as file:
            self.label, source_id = file[0].header["SRCLABEL"], file[0].header["SOURCEID"]
            data, err = file["SCI"].data.astype(float), file["ERR"].data.astype(float)
        self.source = truth.source(source_id)
        self.line = next(line for line in self.source.lines if line.name == LINE)
        whole = read_grid(path)
        low, high = line_window(self.source, self.line)
        window = (whole.wavelengths >= low) & (whole.wavelengths <= high)
        self.grid = whole.window(low, high)
        self.cube, self.err = data[window], err[window]
        scene = Scene((self.source,), truth.scene.zodiacal, truth.scene.zodiacal_slope)
        self.truth, covered = expected_cube(scene, truth.psf, self.grid, truth.cutouts(source_id))
        x, y = np.meshgrid(*self.grid.axes())
        across, along = self.grid.coordinates(self.source, *np.zeros((2, 1)))
        self.inside = np.hypot(x - across, y - along) < RADIUS
        self.inside &= (covered > 0.9).all(axis=0) & np.isfinite(self.cube).all(axis=0)
        self.spectrum = np.nanmean(np.where(self.inside, self.cube, np.nan), axis=(1, 2))
        self.expected = np.nanmean(np.where(self.inside, self.truth, np.nan), axis=(1, 2))

    def row(self):
        """Word a line of the table."""
        arguments = self.source, self.line, self.grid
        cube = measure_line(*arguments, self.cube, self.err, self.inside)
        truth = measure_line(*arguments, self.truth, None, self.inside)
        unit = self.line.flux / self.source.line_brightness(self.line)
        east, north = 1e3 * (cube.east - truth.east), 1e3 * (cube.north - truth.north)
        return (
            f"{self.label}  {self.source.redshift:7.3f}  {cube.flux * unit:6.2f} +- "
            f"{cube.flux_error * unit:4.2f}  {truth.flux * unit:6.2f}   {east:+5.1f}  {north:+5.1f}"
            f" mas   {cube.rotation:5.1f}   {truth.rotation:5.1f}"
        )


def draw(galaxies):
    """Draw line map, velocity map and spectrum of each galaxy: cube beside truth."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(
        len(galaxies), 5, figsize=(13, 2.7 * len(galaxies)), layout="constrained",
        width_ratios=[1, 1, 1, 1, 1.5], squeeze=False,
    )  # fmt: skip
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
    arguments = galaxy.source, galaxy.line, galaxy.grid
    maps = [velocity_map(*arguments, cube) for cube in (galaxy.cube, galaxy.truth)]
    x, y = galaxy.grid.axes()
    half = galaxy.grid.scale / 2
    extent = (-x[0] + half, -x[-1] - half, y[0] - half, y[-1] + half)
    peak = np.nanmax(maps[1][0])
    bright = maps[1][0] > 0.03 * peak
    fastest = np.nanmax(np.abs(maps[1][1][bright]))
    seen = np.isfinite(galaxy.truth).any(axis=0)
    for panel, (flux, _) in zip(panels[:2], maps, strict=True):
        shown = panel.imshow(
            np.where(seen, flux * 1e3, np.nan), origin="lower", extent=extent, cmap="cividis",
            vmin=0, vmax=peak * 1e3,
        )  # fmt: skip
    fig.colorbar(shown, ax=panels[1], label="MJy/sr nm", shrink=0.9)
    for panel, (_, velocity) in zip(panels[2:4], maps, strict=True):
        shown = panel.imshow(
            np.where(bright, velocity, np.nan), origin="lower", extent=extent, cmap="RdYlBu_r",
            vmin=-fastest, vmax=fastest,
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
