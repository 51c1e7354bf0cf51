"""The published reduction of GO-2136 beside ours: ``python -W ignore benchmarks/go2136.py SURVEY``.

SURVEY is a noise-free survey without sky, ``msa3d_simulate SURVEY --no-noise --zodiacal=0 --steps=9
--dithers=7 --dither=0.075 --n-sources=1 --grating=PRISM``. Its cal files are rectified by jwst, as
they are and once more with noise of their errors. Compared are the published recipe (that of
``tests/cube/published_recipe.py``), ours of the same s2d files with ``msa3d_cube_go2136.asdf``, and
our default of the s2d and of the cal files: flux in a rectangle against the truth, voxels without a
value, and the noise of sums over apertures.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jwst.resample import ResampleSpecStep
from speed import print_table
from stdatamodels.jwst import datamodels

sys.path[:0] = [str(Path(__file__).parents[1] / "tests" / part) for part in ("", "cube")]

from published_recipe import FINE, common_wavelengths, published  # noqa: E402

from msa3d_steps import MSA3DCubeStep  # noqa: E402
from msa3d_steps.simulate.record import read_truth  # noqa: E402
from msa3d_steps.simulate.scene.truth import CubeGrid, expected_cube  # noqa: E402

REFERENCE = Path(__file__).parents[1] / "parameter_refs" / "msa3d_cube_go2136.asdf"
HALF = 0.89, 0.9  # of the rectangle, across and along the slits, arcsec
APERTURE = 0.4  # side, arcsec
BIN = 0.05  # um


@dataclass
class Picture:
    """A cube on axes along the slits: arcsec from the middle of the field, um."""

    data: np.ndarray  # (n_wave, n_along, n_across), MJy/sr
    lam: np.ndarray
    across: np.ndarray
    along: np.ndarray
    size: tuple  # of a spaxel, across and along
    seconds: float = 0.0

    def flux(self, half=HALF, middle=(0, 0)):
        """Flux in a rectangle in each channel, MJy/sr arcsec^2; NaN count as 0."""
        parts = [
            np.clip(np.minimum(x + s / 2, m + h) - np.maximum(x - s / 2, m - h), 0, None)
            for x, s, h, m in zip((self.across, self.along), self.size, half, middle, strict=True)
        ]
        return np.einsum("kyx,y,x->k", np.nan_to_num(self.data), parts[1], parts[0])

    def place(self):
        """Place of the galaxy along the slits, arcsec."""
        inside = np.abs(self.along) < HALF[1]
        profile = np.nansum(self.data[:, inside][:, :, np.abs(self.across) < HALF[0]], axis=(0, 2))
        return (profile @ self.along[inside]) / profile.sum()


def main():
    """Compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("survey", type=Path)
    parser.add_argument("--low", type=float, default=2.0, help="um")
    parser.add_argument("--high", type=float, default=2.3, help="um")
    options = parser.parse_args()
    band = options.low, options.high
    clean, noisy = (pictures(*files(options.survey, name), band) for name in ("clean", "noisy"))
    truth = read_truth(options.survey)
    rows = []
    for name, picture in clean.items():
        some = slice(None, None, max(picture.lam.size // 3, 1))
        wanted = true_picture(truth, clean["default, cal"], picture.lam[some])
        flux = wanted.flux()
        noise = noise_of_sums(picture, noisy[name].data - picture.data)
        rows.append(
            (
                name, f"{100 * (picture.flux()[some].sum() / flux.sum() - 1):+.2f}%",
                f"{1e3 * (picture.place() - wanted.place()):+.1f}",
                f"{100 * np.isnan(picture.data).mean():.0f}%",
                f"{1e4 * noise / flux.mean():.2f}", f"{picture.seconds:.1f}",
            )
        )  # fmt: skip
    print_table(
        f"the published cube and ours, {options.low} to {options.high} um",
        ("cube", "flux off", "place off, mas", "NaN", "noise, 1e-4 of flux", "CPU, s"),
        rows,
    )


def files(survey, name):
    """Give cal and s2d files, as they are or with noise of their errors; make those not there."""
    cal, s2d = survey / name / "cal", survey / name / "s2d"
    rng = np.random.default_rng(1)
    for folder in (cal, s2d):
        folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(survey.glob("*_cal.fits")):
        rectified = s2d / path.name.replace("_cal", "_s2d")
        if rectified.exists():
            continue
        with datamodels.open(path) as model:
            for slit in model.slits if name == "noisy" else ():
                noise = rng.normal(0, 1, slit.data.shape) * np.nan_to_num(slit.err)
                slit.data = slit.data + noise
            model.save(str(cal / path.name))
            ResampleSpecStep().run(model).save(str(rectified))
    return sorted(cal.glob("*.fits")), sorted(s2d.glob("*.fits"))


def pictures(cals, rectified, band):
    """Make all cubes of some exposures, and cut out a band of wavelengths."""
    default = {"coord_system": "msaalign", "linear_wave": True}
    published = {"config_file": str(REFERENCE), "save_results": False}
    cubes = {
        "msa3d_cube_go2136.asdf": cube_of(rectified, **published),
        "default, s2d": cube_of(rectified, **default),
        "default, cal": cube_of(cals, **default),
    }
    made = {"published": recipe(rectified, *cubes["msa3d_cube_go2136.asdf"])}
    made |= {name: picture_of(*cube) for name, cube in cubes.items()}
    for picture in made.values():
        inside = (picture.lam > band[0]) & (picture.lam < band[1])
        picture.data, picture.lam = picture.data[inside], picture.lam[inside]
    return made


def cube_of(paths, **options):
    """Build a cube; returns it and the processor time."""
    start = time.process_time()
    (cube,) = MSA3DCubeStep.call([str(p) for p in paths], **options)
    return cube, time.process_time() - start


def picture_of(cube, seconds):
    """One of our cubes."""
    scale = cube.meta.wcsinfo.cdelt1 * 3600
    x, y = ((np.arange(n) - (n - 1) / 2) * scale for n in cube.data.shape[:0:-1])
    picture = Picture(cube.data.astype(float), cube.wavelengths, x, y, (scale, scale), seconds)
    picture.cube = cube
    return picture


def recipe(paths, cube, _):
    """Make the published cube; only its place on the sky is taken from ours."""
    table = cube.exposure_table
    order = [
        np.flatnonzero((table["dither"] == k) & (table["step"] == j))[0]
        for k in range(table["dither"].max() + 1)
        for j in (range(9) if k % 2 == 0 else reversed(range(9)))
    ]
    named = {path.name: path for path in paths}
    start = time.process_time()
    slits = [datamodels.open(named[str(table["file"][i])]).slits[0] for i in order]
    spectra = [(s.data, s.meta.wcs(np.arange(s.data.shape[1]), 5.0)[2]) for s in slits]
    ra, dec, _ = slits[31].meta.wcs(np.full(2, 200.0), slits[31].data.shape[0] - np.array([2, 1]))
    step = np.hypot(np.diff(ra) * np.cos(np.deg2rad(dec[0])), np.diff(dec))[0] * 3600
    pixel = round(step, 5)
    grid = common_wavelengths([lam for _, lam in spectra])
    data = published(spectra, grid, 9, 7, 0.075, pixel)
    seconds = time.process_time() - start
    # where its columns and fine rows are: those of the first exposure of each step
    scale = cube.meta.wcsinfo.cdelt1 * 3600
    row = slits[0].data.shape[0] // 2
    places = [slit.meta.wcs(200.0, row)[:2] for slit in slits[:9]]
    x, y, _ = np.transpose([cube.meta.wcs.invert(*p, cube.wavelengths[0]) for p in places])
    across = (x - (cube.data.shape[2] - 1) / 2) * scale
    first = (y.mean() - (cube.data.shape[1] - 1) / 2) * scale - row * pixel
    along = first + pixel / FINE * np.arange(data.shape[1])
    return Picture(data, grid, across, along, (0.2, pixel / FINE), seconds)


def true_picture(truth, picture, lam):
    """Give the truth on the grid of a picture at some wavelengths."""
    info, scale = picture.cube.meta.wcsinfo, picture.size[0]
    grid = CubeGrid(
        info.crval1, info.crval2, picture.cube.meta.msa3d.cube_pa, scale, picture.across.size,
        picture.along.size, lam, np.full(lam.size, picture.lam[1] - picture.lam[0]),
    )  # fmt: skip
    expected, covered = expected_cube(truth.scene, truth.psf, grid, truth.cutouts(1), points=200)
    expected[covered < 0.5] = np.nan
    return Picture(expected, lam, picture.across, picture.along, picture.size)


def noise_of_sums(picture, noise):
    """Give the scatter of the mean flux of bins of wavelength in apertures at many places."""
    noisy = Picture(noise, picture.lam, picture.across, picture.along, picture.size)
    half = (APERTURE / 2,) * 2
    places = [(x, y) for x in np.arange(-0.6, 0.7, 0.2) for y in np.arange(-0.6, 0.7, 0.2)]
    flux = np.array([noisy.flux(half, place) for place in places])
    bins = ((picture.lam - picture.lam[0]) / BIN).astype(int)
    sums = [flux[:, bins == i].mean(axis=1) for i in range(bins[-1])]
    return 1.4826 * np.median(np.abs(sums))  # the few on the brightest part do not decide


if __name__ == "__main__":
    main()
