"""What the pictures, line maps and page of a survey cost.

``python -W ignore benchmarks/quicklook.py CUTOUT.fits FOLDER`` fills FOLDER with cubes of 3500
channels x 60 x 60 spaxels in the layout of GO-2136 (126 cutouts each), all of them with light and
noise everywhere, and runs ``strun msa3d_quicklook`` on the folder as a user does. Ten cubes are
made (2.9 GB) and linked under five names each: 50 sources.
"""

import argparse
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from material import grating_survey
from speed import make_source, print_table
from survey import watch_memory

from msa3d_steps.cube.build import build_cube
from msa3d_steps.cube.combine import CombineOptions
from msa3d_steps.cube.grid import GridOptions

MINUTES, GIGABYTES = 2, 2
"""Targets for 50 sources."""

CHANNELS, SPAXELS, SCALE = 3500, 60, 0.1
"""Size of a cube, and side of a spaxel, arcsec."""

REDSHIFT = 1.5
LINES = {0.486269: 0.3, 0.496030: 0.33, 0.500824: 1.0, 0.654986: 0.1, 0.656461: 1.0, 0.658527: 0.3}
"""Wavelengths at rest in vacuum, um (Hbeta, [OIII], [NII], Halpha), and peaks."""

SPEED_OF_LIGHT = 299792.458


def main():
    """Make the cubes and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cutout", help="a calibrated cutout, such as those of CEERS")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--distinct", type=int, default=10, help="cubes that are made")
    parser.add_argument("--names", type=int, default=5, help="names of each")
    parser.add_argument("options", nargs="*", help="parameters of the step, after --")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    make_cubes(arguments.cutout, arguments.folder, arguments.distinct, arguments.names)
    measure(arguments.folder, arguments.options)


def make_cubes(cutout, folder, distinct, names):
    """Write the cubes that are not there yet."""
    wanted = {
        i: [folder / f"jw02136-o001_s{i * names + j + 1:09d}_s3d.fits" for j in range(names)]
        for i in range(distinct)
    }
    if all(path.exists() for paths in wanted.values() for path in paths):
        return
    source = make_source(grating_survey(cutout))
    grid = GridOptions(scalexy=SCALE, nspax_x=SPAXELS + 1, nspax_y=SPAXELS + 1)
    cube = build_cube(source, grid, CombineOptions(threads=2))
    shrink(cube)
    for i, (first, *others) in wanted.items():
        lighten(cube, i)
        cube.save(str(first))
        for path in others:
            path.unlink(missing_ok=True)
            path.hardlink_to(first)


def shrink(cube):
    """Cut a cube to size, with coverage everywhere."""
    part = np.s_[:CHANNELS, :SPAXELS, :SPAXELS]
    for name in ("data", "err", "dq", "weightmap", "etime", "nexp"):
        setattr(cube, name, np.array(getattr(cube, name)[part]))
    if cube.data.shape != (CHANNELS, SPAXELS, SPAXELS):
        raise ValueError(f"the cube has the shape {cube.data.shape}")
    cube.dq[:] = 0
    cube.weightmap[:] = cube.etime[:] = 1e4
    cube.nexp[:] = 14


def lighten(cube, seed):
    """Fill a cube with a rotating disc and noise."""
    rng = np.random.default_rng(seed)
    info = cube.meta.wcsinfo
    wavelengths = info.crval3 + info.cdelt3 * (np.arange(CHANNELS) + 1 - info.crpix3)
    y, x = (np.mgrid[:SPAXELS, :SPAXELS] - (SPAXELS - 1) / 2) * SCALE
    light = np.exp(-np.hypot(x, y / 0.6) / 0.4)
    velocity = 200 * x / np.hypot(np.hypot(x, y / 0.6), 0.2)
    data = np.repeat(0.05 * light[None], CHANNELS, axis=0)
    for rest, peak in LINES.items():
        lam = rest * (1 + REDSHIFT) * (1 + velocity / SPEED_OF_LIGHT)
        sigma = lam * np.hypot(60, SPEED_OF_LIGHT / 2700 / 2.355) / SPEED_OF_LIGHT
        near = np.abs(wavelengths - rest * (1 + REDSHIFT)) < 0.01
        shift = (wavelengths[near, None, None] - lam) / sigma
        data[near] += 3 * peak * light * np.exp(-0.5 * shift**2)
    noise = 0.05 * rng.standard_normal(data.shape, dtype=np.float32)
    cube.data = (data + noise).astype(np.float32)
    cube.err = np.full(data.shape, 0.05, np.float32)


def measure(folder, options):
    """Run the step and print what it took."""
    out = folder / "pictures"
    out.mkdir(exist_ok=True)
    for path in out.iterdir():
        path.unlink()
    command = Path(sys.executable).with_name("strun")
    words = [str(command), "msa3d_quicklook", str(folder), f"--output_dir={out}", *options]
    start = time.perf_counter()
    process = subprocess.Popen(words)  # noqa: S603 - our own command
    peak = [0]
    watcher = threading.Thread(target=watch_memory, args=(process, peak))
    watcher.start()
    status = process.wait()
    watcher.join()
    if status:
        sys.exit(status)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cubes = len(list(folder.glob("*_s3d.fits")))
    page = (out / "index.html").stat().st_size / 1e6
    print_table(
        f"quicklook of {cubes} cubes of {CHANNELS} x {SPAXELS} x {SPAXELS} voxels",
        ("", "taken", "target"),
        [
            ("time", f"{seconds / 60:.1f} min", f"{MINUTES} min"),
            ("processor time", f"{(used.ru_utime + used.ru_stime) / 60:.1f} min", ""),
            ("memory of all processes", f"{peak[0] / 1e9:.2f} GB", f"{GIGABYTES} GB"),
            ("size of the page", f"{page:.2f} MB", ""),
        ],
    )


if __name__ == "__main__":
    main()
