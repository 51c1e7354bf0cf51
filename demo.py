"""Run the main job and say what came out: ``python demo.py [FOLDER_WITH_EXPOSURES]``.

Without exposures a small survey of an analytic source is made first.
"""

import json
import subprocess
import sys
import warnings
from pathlib import Path

import matplotlib as mpl
import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from scipy.ndimage import median_filter

HERE = Path(__file__).parent
OUT = HERE / "demo"


def main(folder):
    """Build the cube, draw it and print what it is."""
    OUT.mkdir(exist_ok=True)
    exposures = sorted(folder.resolve().glob("jw*_nrs?_*.fits")) or make_exposures()
    asn = write_association(exposures)
    print(f"{len(exposures)} exposures, {asn.relative_to(HERE)}\n$ strun msa3d_cube {asn.name}")
    strun = Path(sys.executable).with_name("strun")
    command = [str(strun), "msa3d_cube", str(asn), f"--output_dir={OUT}", "--log-level=WARNING"]
    subprocess.run(command, check=True)  # noqa: S603 - our own command
    cube = max(OUT.glob("*_s3d.fits"), key=lambda path: path.stat().st_mtime)
    picture = OUT / "cube.png"
    describe(cube)
    draw(cube, picture)
    print(f"\ncube     {cube.relative_to(HERE)}\npicture  {picture.relative_to(HERE)}")


def make_exposures():
    """Write a survey of 5 steps x 3 dithers of an analytic source."""
    sys.path.insert(0, str(HERE / "tests"))
    from scene import Blob, as_model, pattern, sample, survey, synthetic_template

    template = synthetic_template()
    ra, dec = template.source
    blobs = [Blob(1.0, ra, dec, 0.25, slope=0.5), Blob(0.02, ra, dec, 0.2, 1.1, 0.004)]
    sampling = sample(template.wcs, template.shape, (-2.4, 2.4))
    paths = []
    for slit in survey(template, pattern(5, 3), blobs, sampling=sampling, error=0.05):
        noise = np.random.default_rng(len(paths)).normal(0, 0.05, slit.data.shape)
        slit.data += noise.astype(np.float32)
        model = as_model(slit)
        paths.append(OUT / model.meta.filename)
        model.save(str(paths[-1]))
    return paths


def write_association(exposures):
    """Write the association of all exposures."""
    product = f"{exposures[0].name.split('_')[0]}_{{source_id}}_nirspec"
    members = [{"expname": str(path), "exptype": "science"} for path in exposures]
    asn = {
        "asn_type": "spec3", "asn_rule": "DMS_Level3_Base", "asn_id": "a3001", "asn_pool": "none",
        "program": "00000", "products": [{"name": product, "members": members}],
    }  # fmt: skip
    path = OUT / "asn.json"
    path.write_text(json.dumps(asn, indent=1))
    return path


def read(path):
    """Read data, errors, wavelengths (um), celestial WCS, primary header and exposures."""
    with fits.open(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", FITSFixedWarning)
        waves = np.asarray(file["WCS-TABLE"].data["wavelength"], float).ravel()
        wcs = WCS(file["SCI"].header, file).celestial
        planes = [np.array(file[name].data, float) for name in ("SCI", "ERR")]
        return *planes, waves, wcs, file[0].header, np.array(file["EXPOSURES"].data)


def mean(data, err, axis):
    """Mean weighted by the inverse variance, and its error; NaN without coverage."""
    weight = np.where(np.isfinite(data), 1 / np.where(err > 0, err, np.inf) ** 2, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = weight.sum(axis=axis)
        return (np.nan_to_num(data) * weight).sum(axis=axis) / total, 1 / np.sqrt(total)


def strongest_line(data, err):
    """Channels of the strongest emission line, and of the continuum beside it."""
    spectrum, error = mean(data, err, (1, 2))
    excess = spectrum - median_filter(np.nan_to_num(spectrum), 31)
    significance = np.nan_to_num(excess / error)[10:-10]
    peak = 10 + int(np.argmax(significance))
    distance = np.abs(np.arange(spectrum.size) - peak)
    return distance <= 3, (distance > 6) & (distance < 20), peak


def line_image(data, err):
    """Image in the strongest line, continuum subtracted, and the line's channel."""
    on, off, peak = strongest_line(data, err)
    return mean(data[on], err[on], 0)[0] - mean(data[off], err[off], 0)[0], peak


def brightest(image):
    """Middle of the brightest part of an image: x, y."""
    light = np.clip(np.nan_to_num(image) - 0.3 * np.nanmax(image), 0, None)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    return (light * x).sum() / light.sum(), (light * y).sum() / light.sum()


def describe(path):
    """Print what the cube is."""
    data, err, waves, wcs, header, exposures = read(path)
    image, peak = line_image(data, err)
    ra, dec = wcs.pixel_to_world_values(*brightest(image))
    catalogue = header["SRCRA"], header["SRCDEC"]
    distance = 3600 * np.hypot((ra - catalogue[0]) * np.cos(np.deg2rad(dec)), dec - catalogue[1])
    print(
        f"\nsource   {header['SRCLABEL']} ({header['SRCNAME']})"
        f"\ngrid     {data.shape[2]} x {data.shape[1]} spaxels of {wcs.wcs.cdelt[1] * 3600:.2f} "
        f"arcsec, {waves.size} channels, {waves[0]:.3f} to {waves[-1]:.3f} um"
        f"\npattern  {header['NSTEPS']} step(s) x {header['NDITHERS']} dither(s), "
        f"{exposures['exposure_time'].sum():.0f} s"
        f"\npixels   {exposures['pixels_used'].sum()} used, "
        f"{exposures['pixels_rejected'].sum()} rejected"
        f"\nline     at {waves[peak]:.3f} um, from {ra:.6f} {dec:+.6f}: "
        f"{distance:.3f} arcsec from the catalogue position"
    )


def draw(path, picture):
    """Draw white light, the strongest line and the spectrum."""
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    data, err, waves, wcs, header, _ = read(path)
    image, peak = line_image(data, err)
    x0, y0 = brightest(image)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    scale = wcs.wcs.cdelt[1] * 3600
    near = np.hypot(x - x0, y - y0) * scale < 0.25
    spectrum, error = mean(data[:, near], err[:, near], 1)
    place = wcs.world_to_pixel_values(header["SRCRA"], header["SRCDEC"])
    offset = (np.array(place) - [(n - 1) / 2 for n in image.shape[::-1]]) * scale
    half_x, half_y = 0.5 * scale * image.shape[1], 0.5 * scale * image.shape[0]

    fig = plt.figure(figsize=(11, 4.4), layout="constrained")
    panels = fig.subplot_mosaic("AC;BC", width_ratios=[1, 1.4])
    for name, plane, title in (
        ("A", mean(data, err, 0)[0], "white light, with the sky"),
        ("B", image, f"line at {waves[peak]:.2f} um, continuum subtracted"),
    ):
        panel = panels[name]
        shown = panel.imshow(
            plane, origin="lower", cmap="cividis", extent=(half_x, -half_x, -half_y, half_y)
        )
        fig.colorbar(shown, ax=panel, label="MJy/sr", location="bottom", shrink=0.9, pad=0.02)
        panel.plot(-offset[0], offset[1], "+", color="white", ms=13, mew=1.5)
        panel.set(title=title, xlabel="arcsec east of the middle", ylabel="north")
    panel = panels["C"]
    panel.fill_between(waves, spectrum - error, spectrum + error, color="#56b4e9", lw=0)
    panel.step(waves, spectrum, where="mid", color="#0072b2", lw=1)
    low, high = np.nanpercentile(spectrum, [0.5, 99.7])
    panel.set(
        xlabel="wavelength (um)", ylabel="surface brightness (MJy/sr)",
        title=f"{header['SRCNAME']} within 0.25 arcsec of the line's middle",
        ylim=(low - 0.15 * (high - low), high + 0.15 * (high - low)),
    )  # fmt: skip
    fig.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data"))
