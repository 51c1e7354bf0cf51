"""A cube in the software that people look at cubes with: the same voxel everywhere."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from scene import as_model

from msa3d_steps import MSA3DCubeStep

pytestmark = pytest.mark.filterwarnings("default")  # theirs are not ours to mend


@pytest.fixture(scope="module")
def cubes(small_survey, tmp_path_factory):
    """Paths of a linear cube and of one with a wavelength table, and the model of each."""
    folder = tmp_path_factory.mktemp("viewers")
    result = {}
    for name, linear in (("linear", True), ("table", False)):
        cube = MSA3DCubeStep.call([as_model(s) for s in small_survey], linear_wave=linear)[0]
        result[name] = cube.save(str(folder / f"{name}_s3d.fits")), cube
    return result


def voxel(cube):
    """Channel, y, x of the brightest voxel; its value, ra, dec and wavelength (um)."""
    k, y, x = np.unravel_index(np.nanargmax(cube.data), cube.data.shape)
    ra, dec, lam = cube.meta.wcs(x, y, k)
    return (k, y, x), cube.data[k, y, x], ra, dec, lam


def test_spectral_cube(cubes):
    module = pytest.importorskip("spectral_cube")
    path, cube = cubes["linear"]
    where, value, ra, dec, lam = voxel(cube)
    found = module.SpectralCube.read(path, hdu=1)
    assert found.unit == u.MJy / u.sr
    assert found.filled_data[where].value == pytest.approx(value)
    wave, lat, lon = (np.ravel(c)[0] for c in found.world[where[0], where[1], where[2]])
    assert wave.to_value(u.um) == pytest.approx(lam, rel=1e-9)
    assert (lon.value, lat.value) == pytest.approx((ra, dec), abs=1e-9)


def test_spectral_cube_with_a_wavelength_table(cubes):
    """It does not read WAVE-TAB headers by itself, but takes a WCS that astropy made of one."""
    module = pytest.importorskip("spectral_cube")
    path, cube = cubes["table"]
    where, value, _, _, lam = voxel(cube)
    with fits.open(path) as file, warnings.catch_warnings():
        warnings.simplefilter("ignore", AstropyWarning)
        wcs = WCS(file["SCI"].header, file)
        found = module.SpectralCube(np.array(file["SCI"].data) * u.MJy / u.sr, wcs=wcs)
    assert found.filled_data[where].value == pytest.approx(value)
    assert found.spectral_axis[where[0]].to_value(u.um) == pytest.approx(lam, rel=1e-7)


@pytest.mark.parametrize("kind", ["linear", "table"])
def test_specutils(cubes, kind):
    module = pytest.importorskip("specutils")
    path, cube = cubes[kind]
    where, value, ra, dec, lam = voxel(cube)
    found = module.Spectrum.read(path, format="JWST s3d")
    assert found.flux[where].to_value(u.MJy / u.sr) == pytest.approx(value)
    assert found.uncertainty.array[where] == pytest.approx(cube.err[where])
    assert found.spectral_axis[where[0]].to_value(u.um) == pytest.approx(lam, rel=1e-7)
    assert found.wcs.pixel_to_world_values(where[2], where[1], where[0])[:2] == pytest.approx(
        (ra, dec), abs=1e-9
    )


def test_mpdaf(cubes):
    module = pytest.importorskip("mpdaf.obj")
    path, cube = cubes["linear"]
    where, value, ra, dec, lam = voxel(cube)
    found = module.Cube(path, ext=("SCI", "ERR"))
    assert found.unit == u.MJy / u.sr
    assert found.data[where] == pytest.approx(value)
    assert found.wave.coord(where[0], unit=u.um) == pytest.approx(lam, rel=1e-9)
    assert found.wcs.pix2sky([where[1], where[2]])[0] == pytest.approx((dec, ra), abs=1e-9)


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
