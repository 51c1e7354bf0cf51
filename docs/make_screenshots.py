"""Take the screenshots of a page for the documentation, in a headless Chromium.

Run by hand: ``python docs/make_screenshots.py demo/cubes/index.html docs/images``. It needs
playwright (the extra ``browser``), an installed Chromium or Chrome, and Pillow, which matplotlib
brings.
"""

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

VIEWS = {
    "page_desktop.png": {"viewport": {"width": 1280, "height": 800}},
    "page_phone.png": {"viewport": {"width": 375, "height": 812}, "device_scale_factor": 2},
}
"""Names of the pictures and how the page is looked at; 375 x 812 is the screen of a phone."""

MOST_BYTES = 250_000
"""Size of a picture that repository and documentation can bear."""


def take(page, view):
    """Take a screenshot of a page.

    Parameters
    ----------
    page : pathlib.Path
        The page.
    view : dict
        Options of the browser's context.

    Returns
    -------
    `~PIL.Image.Image`
        It.
    """
    executable = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable, args=["--no-sandbox", "--disable-gpu"]
        )
        tab = browser.new_context(color_scheme="light", **view).new_page()
        tab.goto(page.resolve().as_uri())
        tab.wait_for_load_state("networkidle")
        picture = Image.open(io.BytesIO(tab.screenshot()))
        browser.close()
    return picture


def save(picture, path):
    """Save a picture, with fewer colours where it would be too large.

    Parameters
    ----------
    picture : `~PIL.Image.Image`
        It.
    path : pathlib.Path
        Where.

    Raises
    ------
    ValueError
        Where it is too large with few colours, too.
    """
    picture = picture.convert("RGB")
    octree = Image.Quantize.FASTOCTREE  # which keeps colours that few pixels have
    for few in (picture, picture.quantize(256, method=octree, dither=Image.Dither.NONE)):
        few.save(path, optimize=True)
        if path.stat().st_size < MOST_BYTES:
            return
    raise ValueError(f"{path} has {path.stat().st_size} bytes; show fewer sources")


def main():
    """Take all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("page", type=Path, help="the page, index.html")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    arguments = parser.parse_args()
    for name, view in VIEWS.items():
        save(take(arguments.page, view), arguments.folder / name)


if __name__ == "__main__":
    main()
