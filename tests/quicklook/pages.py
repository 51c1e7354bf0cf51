"""Entries and files for pages."""

import base64
import io

from PIL import Image

from msa3d_steps.quicklook.entry import Entry

PRODUCT = "jw02136-o001_nirspec_f100lp-g140h"
NASTY = 'a<b>&"c\'</script><script>document.title="gone"</script>'


def png(colour, size=(64, 36)):
    """A PNG of one colour."""
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def entry(folder, number, **changes):
    """An entry with its files."""
    title = f"s{number:09d}"
    stem = f"jw02136-o001_{title}_nirspec_f100lp-g140h"
    content = {
        "title": title,
        "name": f"2136_{number}",
        "cube": f"{stem}_s3d.fits",
        "picture": f"{stem}_quicklook.png",
        "maps": f"{stem}_linemaps.fits",
        "thumbnail": base64.b64encode(png((number % 256, 80, 120), (32, 18))).decode(),
        "ra": 214.9 + number / 1000,
        "dec": 52.8,
        "field": (2.0, 4.0),
        "shape": (3600, 40, 20),
        "wavelengths": (0.97, 1.89),
        "grating": "F100LP-G140H",
        "line": "[OIII]5007",
        "line_wavelength": 1.2345,
        "line_snr": 10.0,
        "continuum_snr": 1.0,
        "redshift": 1.466,
        "exposures_used": 126,
        "exposures_rejected": 0,
        "pixels_used": 90_000,
        "pixels_rejected": 10_000,
        "outliers": 250,
        "registration": "as pointed",
    } | changes
    for kind in ("cube", "maps"):
        if content[kind]:
            (folder / content[kind]).write_bytes(b"")
    if content["picture"]:
        (folder / content["picture"]).write_bytes(png((number % 256, 80, 120), (640, 360)))
    return Entry(**content)
