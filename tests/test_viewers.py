"""A cube in the software that people look at cubes with: the same voxel everywhere.

Flux to 1e-6, place to 0.01 spaxel, wavelength to 1e-6; linear cubes and cubes with a wavelength
table, along north and along the slits (which lie at 37 degrees).
"""

import re
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.wcs import WCS
from scene import as_model

from msa3d_steps import MSA3DCubeStep, MSACubeModel

pytestmark = pytest.mark.filterwarnings("default")  # theirs are not ours to mend

KINDS = [f"{grid} {axes}" for grid in ("linear", "table") for axes in ("skyalign", "msaalign")]
TEXT = Path(__file__).parents[1] / "docs" / "viewers.md"


@pytest.fixture(scope="module")
def cubes(small_survey, tmp_path_factory):
    """Paths of cubes, by kind."""
    folder = tmp_path_factory.mktemp("viewers")
    result = {}
    for kind in KINDS:
        grid, axes = kind.split()
        cube = MSA3DCubeStep.call(
            [as_model(s) for s in small_survey], linear_wave=grid == "linear", coord_system=axes
        )[0]
        result[kind] = cube.save(str(folder / f"{grid}_{axes}_s3d.fits"))
        cube.close()
    return result


class Voxel:
    """The brightest voxel of a cube, as the model has it."""

    def __init__(self, path):
        with MSACubeModel(path) as cube:
            where = np.unravel_index(np.nanargmax(cube.data), cube.shape)
            self.k, self.y, self.x = self.where = tuple(int(i) for i in where)
            self.value, self.err = cube.data[where], cube.err[where]
            self.bad = np.asarray(cube.dq) != 0
            self.total = np.nansum(cube.data[self.k], dtype=float)
            self.area = cube.meta.photometry.pixelarea_steradians
            self.scale = cube.meta.wcsinfo.cdelt2 * 3600
            self.ra, self.dec, self.lam = (float(c) for c in cube.meta.wcs(self.x, self.y, self.k))
        assert self.x != self.y  # axes that are swapped would show
        assert 0 < self.bad.sum() < self.bad.size

    def assert_sky(self, ra, dec):
        """0.01 spaxel."""
        east = (float(ra) - self.ra) * np.cos(np.deg2rad(self.dec))
        assert np.hypot(east, float(dec) - self.dec) * 3600 < 0.01 * self.scale

    def assert_flux(self, value):
        assert float(value) == pytest.approx(self.value, rel=1e-6)

    def assert_err(self, value):
        assert float(value) == pytest.approx(self.err, rel=1e-6)

    def assert_wavelength(self, value):
        """In um."""
        assert float(value) == pytest.approx(self.lam, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_astropy(cubes, kind):
    """The header alone, as DS9 goes by it."""
    voxel = Voxel(cubes[kind])
    with fits.open(cubes[kind]) as file:
        voxel.assert_flux(file["SCI"].data[voxel.where])
        wcs = WCS(file["SCI"].header, file)
        sky, wavelength = wcs.pixel_to_world(voxel.x, voxel.y, voxel.k)
    voxel.assert_sky(sky.icrs.ra.deg, sky.icrs.dec.deg)
    voxel.assert_wavelength(wavelength.to_value(u.um))


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith("linear")])
def test_spectral_cube(cubes, kind):
    module = pytest.importorskip("spectral_cube")
    voxel = Voxel(cubes[kind])
    found = module.SpectralCube.read(cubes[kind], hdu="SCI")
    assert found.unit == u.MJy / u.sr
    voxel.assert_flux(found.filled_data[voxel.where].value)
    wave, dec, ra = (np.ravel(c)[0] for c in found.world[voxel.where])
    voxel.assert_wavelength(wave.to_value(u.um))
    voxel.assert_sky(ra.value, dec.value)


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith("table")])
def test_spectral_cube_with_a_wavelength_table(cubes, kind):
    """It does not read WAVE-TAB headers by itself, but takes a WCS that astropy made of one."""
    module = pytest.importorskip("spectral_cube")
    voxel = Voxel(cubes[kind])
    with pytest.raises(ValueError, match="-TAB"):
        module.SpectralCube.read(cubes[kind], hdu="SCI")
    with fits.open(cubes[kind]) as file:
        wcs = WCS(file["SCI"].header, file)
        found = module.SpectralCube(file["SCI"].data.astype("f4") * u.MJy / u.sr, wcs=wcs)
    voxel.assert_flux(found.filled_data[voxel.where].value)
    wave, dec, ra = (np.ravel(c)[0] for c in found.world[voxel.where])
    voxel.assert_wavelength(wave.to_value(u.um))
    voxel.assert_sky(ra.value, dec.value)


@pytest.mark.parametrize("kind", KINDS)
def test_specutils(cubes, kind):
    module = pytest.importorskip("specutils")
    voxel = Voxel(cubes[kind])
    found = module.Spectrum.read(cubes[kind], format="JWST s3d")
    voxel.assert_flux(found.flux[voxel.where].to_value(u.MJy / u.sr))
    assert found.uncertainty.uncertainty_type == "std"
    voxel.assert_err(found.uncertainty.array[voxel.where])
    np.testing.assert_array_equal(found.mask != 0, voxel.bad)
    voxel.assert_wavelength(found.spectral_axis[voxel.k].to_value(u.um))
    voxel.assert_sky(*found.wcs.pixel_to_world_values(voxel.x, voxel.y, voxel.k)[:2])


@pytest.mark.parametrize("kind", [k for k in KINDS if k.startswith("linear")])
def test_mpdaf(cubes, kind):
    """It takes ERR for a variance, so that the text says to square it."""
    module = pytest.importorskip("mpdaf.obj")
    voxel = Voxel(cubes[kind])
    found = module.Cube(cubes[kind], ext=("SCI", "ERR"))
    assert found.unit == u.MJy / u.sr
    voxel.assert_flux(found.data[voxel.where])
    voxel.assert_err(found.var[voxel.where])
    np.testing.assert_array_equal(found.mask, voxel.bad)
    voxel.assert_wavelength(found.wave.coord(voxel.k, unit=u.um))
    voxel.assert_sky(*found.wcs.pix2sky([voxel.y, voxel.x])[0][::-1])


def test_mpdaf_refuses_a_wavelength_table(cubes):
    """As the text says, with this message."""
    module = pytest.importorskip("mpdaf.obj")
    message = "HDUList is required to retrieve -TAB coordinates"
    assert message in TEXT.read_text()
    with pytest.raises(ValueError, match=message):
        module.Cube(cubes["table skyalign"], ext=("SCI", "ERR"))


@pytest.fixture(scope="module")
def jdaviz():
    """The module, which is large: pip install 'msa3d-steps[jdaviz]'."""
    return pytest.importorskip("jdaviz", reason="the extra 'jdaviz' is not installed")


def check_loaded(datasets, label, voxel):
    """The data of jdaviz: flux, uncertainty, data quality and the sum over the field."""
    flux = datasets[label].get_data()
    assert flux.unit == u.MJy / u.sr
    voxel.assert_flux(flux.flux[voxel.where].value)
    voxel.assert_err(flux.uncertainty.array[voxel.where])
    voxel.assert_wavelength(flux.spectral_axis[voxel.k].to_value(u.um))
    errors = datasets[f"{label} [UNC]"].get_data()
    assert errors.unit == u.MJy / u.sr
    voxel.assert_err(errors.flux[voxel.where].value)
    quality = datasets[f"{label} [DQ]"].get_data().flux.value  # NaN where DQ is 0
    np.testing.assert_array_equal(np.isfinite(quality), voxel.bad)
    total = datasets[f"{label} (sum)"].get_data()
    assert total.flux[voxel.k].to_value(u.MJy) == pytest.approx(voxel.total * voxel.area, rel=1e-5)


def check_pointer(app, viewer, voxel):
    """What it says of the place under the pointer: value, unit, RA and Dec."""
    app.plugins["Spectral Slice"].value = voxel.lam
    pointer = app._app.session.application._tools["g-coords-info"]
    pointer._viewer_mouse_event(
        viewer, {"event": "mousemove", "domain": {"x": voxel.x, "y": voxel.y}}
    )
    pixel, _, degrees = pointer.as_text()
    value, unit = re.search(r"Value (\S+) (.*)", pixel).groups()
    assert float(value) == pytest.approx(voxel.value, rel=1e-5)  # of six digits
    assert unit == "MJy / sr"
    voxel.assert_sky(*degrees.split()[:2])


@pytest.mark.parametrize("kind", ["linear msaalign", "table skyalign"])
def test_cubeviz(jdaviz, cubes, kind):
    """Data, viewers and pointer."""
    if not hasattr(jdaviz, "Cubeviz"):
        pytest.skip("this version of jdaviz has one application for all kinds of data")
    voxel = Voxel(cubes[kind])
    cubeviz = jdaviz.Cubeviz()
    cubeviz.load(cubes[kind])
    label = Path(cubes[kind]).stem
    check_loaded(cubeviz.datasets, label, voxel)
    shown = {
        name: [layer.layer.label for layer in cubeviz._app.get_viewer(name).layers]
        for name in ("flux-viewer", "uncert-viewer", "spectrum-viewer")
    }
    assert shown == {
        "flux-viewer": [label, f"{label} [DQ]"],
        "uncert-viewer": [f"{label} [UNC]"],
        "spectrum-viewer": [f"{label} (sum)"],
    }
    check_pointer(cubeviz, cubeviz._app.get_viewer("flux-viewer"), voxel)


def blocks():
    """Headings and codes of the Python blocks of the text."""
    text = TEXT.read_text(encoding="utf-8")
    for match in re.finditer(r"^```python\n(.*?)^```$", text, re.M | re.S):
        headings = re.findall(r"^#+ (.*)$", text[: match.start()], re.M)
        yield pytest.param(match[1], id=headings[-1])


@pytest.mark.parametrize("code", list(blocks()))
def test_the_examples_of_the_text_run(code, cubes, folder):
    for module in re.findall(r"^(?:from|import) (\w+)", code, re.M):
        pytest.importorskip(module, reason=f"{module} is not installed")
    (folder / "cube_s3d.fits").symlink_to(cubes["linear skyalign"])
    (folder / "prism_s3d.fits").symlink_to(cubes["table skyalign"])
    code = re.sub(r"^(cubeviz|app)\.show\(\)$", "", code, flags=re.M)  # needs a notebook
    space = {"__name__": "example"}
    exec(compile(code, "example", "exec"), space)  # noqa: S102 - our own text
    voxel = Voxel("cube_s3d.fits")
    if "mpdaf" in code:
        voxel.assert_err(np.sqrt(space["cube"].var[voxel.where]))
    if "app" in space:
        check_loaded(space["app"].datasets, "cube_s3d", voxel)
        check_pointer(space["app"], space["app"]._app.get_viewer_by_id("3D Spectrum"), voxel)
    if "errors" in space:
        voxel.assert_err(space["errors"].filled_data[voxel.where].value)


@pytest.fixture(scope="module")
def real_cubes(real_models, tmp_path_factory):
    """Paths of cubes of the real exposures: as they come (wavelength table), and linear."""
    folder = tmp_path_factory.mktemp("real")
    return {
        linear: MSA3DCubeStep.call(list(real_models), linear_wave=linear)[0].save(
            str(folder / f"{linear}_s3d.fits")
        )
        for linear in (None, True)
    }


def open_with(viewer, paths):
    """Data, wavelengths (um) and a function from x, y to ra, dec, as a viewer has them."""
    if viewer == "specutils":
        cube = pytest.importorskip("specutils").Spectrum.read(paths[None], format="JWST s3d")
        return (
            cube.flux.value,
            cube.spectral_axis.to_value(u.um),
            lambda x, y: cube.wcs.pixel_to_world_values(x, y, 0)[:2],
        )
    if viewer == "mpdaf":
        cube = pytest.importorskip("mpdaf.obj").Cube(paths[True], ext=("SCI", "ERR"))
        return (
            cube.data.filled(np.nan),
            cube.wave.coord(unit=u.um),
            lambda x, y: cube.wcs.pix2sky([y, x])[0][::-1],
        )
    cube = pytest.importorskip("spectral_cube").SpectralCube.read(paths[True], hdu=1)
    return (
        cube.filled_data[:].value,
        cube.spectral_axis.to_value(u.um),
        lambda x, y: cube.wcs.celestial.pixel_to_world_values(x, y),
    )


@pytest.mark.parametrize("viewer", ["spectral_cube", "specutils", "mpdaf"])
def test_the_object_is_at_its_catalogue_position(viewer, real_cubes):
    """The light of its two strongest lines comes from within 0.1 arcsec of where it should be."""
    data, wave, sky = open_with(viewer, real_cubes)
    for line, width in ((2.62, 0.03), (3.437, 0.025)):
        distance = np.abs(wave - line) / width
        on, off = distance < 1, (distance > 2) & (distance < 6)
        image = np.nanmean(data[on], axis=0) - np.nanmedian(data[off], axis=0)
        light = np.clip(np.nan_to_num(image) - 0.3 * np.nanmax(image), 0, None)
        y, x = np.mgrid[: image.shape[0], : image.shape[1]]
        ra, dec = sky((light * x).sum() / light.sum(), (light * y).sum() / light.sum())
        east = (ra - 214.8337227) * np.cos(np.deg2rad(dec)) * 3600
        assert np.hypot(east, (dec - 52.8682822) * 3600) < 0.1  # 0.07 measured
