"""Noise-free cubes, what a perfect reduction would show, and what is measured in both."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.scene.measure import line_window, measure_line, velocity_map
from msa3d_steps.simulate.scene.psf import Psf
from msa3d_steps.simulate.scene.render import SlitOnSky, SlitPixels, observe
from msa3d_steps.simulate.scene.sources import Galaxy, Line, PointSource, Scene
from msa3d_steps.simulate.scene.truth import CubeGrid, expected_cube, read_grid, truth_cube

C = 299792.458  # km/s
LINE = Line("Halpha", 0.656461, 40.0)
CENTRE = 2 * LINE.wavelength
BANDPASS = 2.3e-4
PSF = Psf.gaussian()
PLACE = {"ra": 150.0, "dec": 2.0, "redshift": 1.0}
GALAXY = Galaxy(
    1, **PLACE, lines=(LINE,), scale_length=0.2, truncation=2.0, position_angle=70.0,
    clumps=((0.2, 0.1, 0.1),),
)  # fmt: skip
GLOW = Galaxy(2, **PLACE, continuum=6.0, slope=0.5, scale_length=0.2, truncation=2.0, bulge=0.3)
STAR = PointSource(3, **PLACE, lines=(LINE,), dispersion=60.0)


def make_grid(nx=21, ny=21, angle=0.0, channels=31, scale=0.1, **place):
    """Make a grid about the line and the sources' place."""
    wavelengths = CENTRE + BANDPASS * (np.arange(channels) - channels // 2)
    at = {"ra": 150.0, "dec": 2.0} | place
    return CubeGrid(
        at["ra"], at["dec"], angle, scale, nx, ny, wavelengths, np.full(channels, BANDPASS)
    )


def wcs_of(grid):
    """Make the grid's FITS WCS out of its documented attributes."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [grid.ra, grid.dec]
    wcs.wcs.crpix = [(grid.nx + 1) / 2, (grid.ny + 1) / 2]
    wcs.wcs.cdelt = [grid.scale / 3600] * 2
    sine, cosine = np.sin(np.deg2rad(grid.position_angle)), np.cos(np.deg2rad(grid.position_angle))
    wcs.wcs.pc = [[-cosine, sine], [sine, cosine]]
    return wcs


class TestTruthCube:
    @pytest.mark.parametrize("source", [GALAXY, STAR], ids=["galaxy", "point"])
    @pytest.mark.parametrize("lsf", [None, lambda lam: BANDPASS], ids=["sharp", "lsf"])
    def test_sums_to_the_flux_of_the_line(self, source, lsf):
        grid = make_grid(angle=20.0, ra=150.00002)
        cube = truth_cube(Scene((source,)), PSF, grid, lsf)
        flux = cube.sum() * grid.scale**2 * BANDPASS
        assert flux == pytest.approx(source.line_brightness(LINE), rel=1e-8)

    def test_sums_to_the_flux_of_the_continuum(self):
        grid = make_grid(angle=20.0)
        cube = truth_cube(Scene((GLOW,)), PSF, grid)
        np.testing.assert_allclose(
            cube.sum(axis=(1, 2)) * grid.scale**2, GLOW.continuum_brightness(grid.wavelengths),
            rtol=1e-8,
        )  # fmt: skip

    @pytest.mark.parametrize("source", [GALAXY, GLOW], ids=["line", "continuum"])
    def test_voxels_are_averages(self, source):
        """Against quadrature of the scene over spaxels placed by astropy, and channels."""
        grid = make_grid(angle=35.0, channels=9, ra=150.00003, dec=2.00002)
        cube = truth_cube(Scene((source,)), PSF, grid)
        node, weight = np.polynomial.legendre.leggauss(10)
        weight = weight / 2
        in_lam = (node, weight) if source is GALAXY else (np.zeros(1), np.ones(1))
        rules = [(node, weight), (node, weight), in_lam]
        x, y, z = 0.5 * np.array(list(itertools.product(*(rule[0] for rule in rules)))).T
        weights = np.prod(list(itertools.product(*(rule[1] for rule in rules))), axis=1)
        for channel, row, column in [(4, 10, 10), (3, 9, 11), (5, 12, 8)]:
            ra, dec = wcs_of(grid).pixel_to_world_values(column + x, row + y)
            lam = grid.wavelengths[channel] + z * BANDPASS
            shown = weights @ Scene((source,)).brightness(ra, dec, lam, PSF)
            assert cube[channel, row, column] == pytest.approx(shown, rel=1e-6)
            assert shown > 1e-3 * cube.max()

    def test_a_pixel_of_a_slit_that_is_a_voxel_shows_the_voxel(self):
        """A slit as wide as a spaxel, pixels as high: `observe` and `truth_cube` agree."""
        scene = Scene((GALAXY, GLOW), 0.1)
        grid = make_grid(angle=35.0, channels=15)
        cube = truth_cube(scene, PSF, grid, lambda lam: BANDPASS)
        along = 0.1 * np.sin(np.deg2rad(35.0)), 0.1 * np.cos(np.deg2rad(35.0))
        shape = grid.ny, grid.wavelengths.size
        pixels = SlitPixels(
            np.broadcast_to(grid.wavelengths, shape),
            np.broadcast_to(np.arange(21.0)[:, None], shape),
            np.full(shape, BANDPASS), 1.0,
        )  # fmt: skip
        for column in (9, 10, 12):
            ra, dec = wcs_of(grid).pixel_to_world_values(column, 0)
            slit = SlitOnSky(float(ra), float(dec), along, grid.scale)
            shown = observe(scene, PSF, slit, pixels).T
            limit = 2e-6 * cube.max()
            np.testing.assert_allclose(shown, cube[:, :, column], rtol=2e-5, atol=limit)

    def test_one_channel_is_enough(self):
        grid = make_grid(channels=15)
        cube = truth_cube(Scene((GALAXY, GLOW), 0.1), PSF, grid)
        lam = grid.wavelengths[7]
        one = truth_cube(Scene((GALAXY, GLOW), 0.1), PSF, grid.window(lam, lam))
        np.testing.assert_allclose(one[0], cube[7], rtol=1e-9)

    def test_a_line_without_any_width_is_refused(self):
        sharp = replace(STAR, dispersion=0.0)
        with pytest.raises(InputError, match=r"source 3.*dispersion"):
            truth_cube(Scene((sharp,)), PSF, make_grid())
        cube = truth_cube(Scene((sharp,)), PSF, make_grid(), lambda lam: BANDPASS)
        assert cube.sum() * 0.01 * BANDPASS == pytest.approx(sharp.line_brightness(LINE), rel=1e-8)

    def test_axes_of_the_grid_are_those_of_its_wcs(self):
        grid = make_grid(nx=11, ny=15, angle=35.0)
        x, y = np.meshgrid(np.arange(11), np.arange(15))
        ra, dec = wcs_of(grid).pixel_to_world_values(x, y)
        middle = PointSource(0, grid.ra, grid.dec)
        expected = middle.offsets(ra, dec)
        got = grid.to_sky(*np.meshgrid(*grid.axes()))
        np.testing.assert_allclose(got, expected, atol=1e-8)
        back = grid.coordinates(middle, *got)
        np.testing.assert_allclose(back, np.meshgrid(*grid.axes()), atol=1e-8)


@pytest.fixture(scope="module", params=[True, False], ids=["linear", "table"])
def cube(request, small_survey, tmp_path_factory):
    """A cube of the cube step, turned by 25 degrees, and its file."""
    from scene import as_model

    from msa3d_steps import MSA3DCubeStep

    model = MSA3DCubeStep.call(
        [as_model(slit) for slit in small_survey], linear_wave=request.param, cube_pa=25.0
    )[0]
    path = tmp_path_factory.mktemp("grid") / "some_s3d.fits"
    model.save(str(path))
    return model, path, request.param


class TestReadGrid:
    def test_is_that_of_the_models_gwcs(self, cube):
        model, path, linear = cube
        assert fits.getheader(path, "SCI")["CTYPE3"] == ("WAVE" if linear else "WAVE-TAB")
        grid = read_grid(path)
        nz, ny, nx = model.data.shape
        assert (grid.wavelengths.size, grid.ny, grid.nx) == (nz, ny, nx)
        assert grid.scale == pytest.approx(0.1, rel=1e-6)
        assert grid.position_angle == pytest.approx(25.0, abs=1e-6)
        x, y = np.meshgrid(np.arange(float(nx)), np.arange(float(ny)))
        ra, dec, _ = model.meta.wcs(x, y, np.zeros_like(x))
        east, north = PointSource(0, grid.ra, grid.dec).offsets(ra, dec)
        got = grid.to_sky(*np.meshgrid(*grid.axes()))
        np.testing.assert_allclose(np.array(got) / 0.1, np.array([east, north]) / 0.1, atol=1e-6)
        z = np.arange(float(nz))
        _, _, lam = model.meta.wcs(np.full(nz, 2.0), np.full(nz, 2.0), z)
        step = np.gradient(lam)
        np.testing.assert_allclose((grid.wavelengths - lam) / step, 0, atol=1e-6)
        np.testing.assert_allclose(grid.bandpass, step, rtol=1e-9)

    def test_of_a_single_channel(self, tmp_path):
        hdu = fits.ImageHDU(np.zeros((1, 5, 5), np.float32), wcs_of(make_grid(5, 5)).to_header())
        axis = {"CTYPE3": "WAVE", "CUNIT3": "um", "CRPIX3": 1.0, "CRVAL3": 1.3, "CDELT3": 2e-4}
        hdu.header.update(axis)
        hdu.name = "SCI"
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "one_s3d.fits")
        grid = read_grid(tmp_path / "one_s3d.fits")
        np.testing.assert_allclose([grid.wavelengths[0], grid.bandpass[0]], [1.3, 2e-4])

    @pytest.mark.parametrize("content", ["text", "image", "nothing"])
    def test_of_what_is_no_cube(self, content, tmp_path):
        path = tmp_path / "bad.fits"
        if content == "text":
            path.write_text("no cube\n")
        elif content == "image":
            hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.zeros((3, 3)), name="SCI")]
            fits.HDUList(hdus).writeto(path)
        with pytest.raises(InputError, match=r"bad\.fits: not a cube with a WCS.*s3d"):
            read_grid(path)


def make_slits(middles, width, n_rows=31, angle=0.0, phases=(0.0,)):
    """Slits across the sources' place (arcsec), with pixels of 0.1 arcsec, at phases of a pixel."""
    unit = np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
    slits = []
    for across, phase in itertools.product(middles, phases):
        east, north = across * unit[1] + 0.1 * phase * unit[0], -across * unit[0]
        north += 0.1 * phase * unit[1]
        wcs = wcs_of(make_grid(1, 1, scale=1.0))
        ra, dec = wcs.pixel_to_world_values(-east, north)
        row, column = np.mgrid[:n_rows, :41].astype(float)
        pixels = SlitPixels(
            CENTRE + BANDPASS * (column - 20), row - n_rows // 2, np.full(row.shape, BANDPASS), 1.0
        )
        slits.append((SlitOnSky(float(ra), float(dec), tuple(0.1 * unit), width), pixels))
    return slits


class TestExpectedCube:
    def test_of_a_uniform_scene_is_uniform(self):
        slits = make_slits([-0.3, 0.0, 0.31], 0.2, angle=30.0)
        grid = make_grid(9, 9, channels=3)
        cube, covered = expected_cube(Scene((), 0.2, 0.0), PSF, grid, slits)
        assert np.isfinite(cube).any()
        np.testing.assert_array_equal(np.isfinite(cube), covered > 0)
        np.testing.assert_allclose(cube[covered > 0], 0.2, rtol=1e-12)

    def test_covered_part_of_spaxels(self):
        """Slits of 0.2 arcsec every 0.25 along y, spaxels of 0.1: the gaps show as they are."""
        slits = make_slits([-0.25, 0.0, 0.25], 0.2, n_rows=11)
        grid = make_grid(9, 21, channels=2)
        _, covered = expected_cube(Scene((), 0.2), PSF, grid, slits)
        # x points to the west; columns of 0.1 from -0.45 to 0.45, slits from -0.35 to 0.35
        edges = -0.45 + 0.1 * np.arange(10)
        opened = [(-0.35, -0.15), (-0.10, 0.10), (0.15, 0.35)]
        share = sum(
            np.clip(np.minimum(edges[1:], b) - np.maximum(edges[:-1], a), 0, None)
            for a, b in opened
        )
        inside = covered[:, 5:16]
        np.testing.assert_allclose(inside.mean(axis=(0, 1)), share / 0.1, atol=2e-3)
        np.testing.assert_allclose(inside, np.broadcast_to(share / 0.1, inside.shape), atol=0.02)
        assert covered[:, :5].max() == 0
        assert covered[:, 16:].max() == 0

    def test_pixels_of_neighbouring_exposures_share_a_spaxel_by_area(self):
        """A spaxel of 0.1 at x from -0.05: 0.03 of it shows one slit and 0.07 the other."""
        slits = make_slits([-0.08, 0.12], 0.2)
        scene = Scene((GALAXY,), 0.1)
        grid = make_grid(3, 3, channels=1)
        cube, covered = expected_cube(scene, PSF, grid, slits)
        shown = [observe(scene, PSF, slit, pixels)[15, 20] for slit, pixels in slits]
        # the border is at 0.02 east; the first slit holds 0.07 of the spaxel, the second 0.03
        assert covered[0, 1, 1] == 1
        assert abs(shown[0] / shown[1] - 1) > 0.1
        part = (cube[0, 1, 1] - shown[1]) / (shown[0] - shown[1])
        assert part == pytest.approx(0.7, abs=0.01)

    def test_overlapping_exposures_are_averaged(self):
        slits = make_slits([-0.05, 0.05], 0.3)
        scene = Scene((GALAXY,), 0.1)
        cube, _ = expected_cube(scene, PSF, make_grid(1, 1, channels=1), slits)
        shown = [observe(scene, PSF, slit, pixels)[15, 20] for slit, pixels in slits]
        assert cube[0, 0, 0] == pytest.approx(np.mean(shown), rel=1e-12)

    @pytest.mark.parametrize("angle", [0.0, 30.0])
    @pytest.mark.parametrize(
        ("source", "bound"), [(STAR, 1e-2), (GALAXY, 2e-3)], ids=["point", "galaxy"]
    )
    def test_flux_of_a_compact_source(self, source, bound, angle):
        """Slits without gaps, two phases along them: the flux is kept within 0.2%.

        A star is in two pixels or three, whose area is known to 1 of 300 points each.
        """
        slits = make_slits(0.2 * np.arange(-5, 6), 0.2, angle=angle, phases=(0.0, 0.5))
        grid = make_grid(19, 19, channels=25)
        cube, covered = expected_cube(Scene((source,)), PSF, grid, slits)
        flux = np.nansum(cube * covered) * grid.scale**2 * BANDPASS
        assert flux == pytest.approx(source.line_brightness(LINE), rel=bound)

    def test_no_slit_is_no_cube(self):
        far = make_slits([50.0], 0.2)
        cube, covered = expected_cube(Scene((), 0.2), PSF, make_grid(3, 3, channels=2), far)
        assert np.isnan(cube).all()
        assert covered.max() == 0
        elsewhere = replace(make_grid(3, 3), wavelengths=np.array([2.0]), bandpass=np.array([1e-4]))
        cube, _ = expected_cube(Scene((), 0.2), PSF, elsewhere, make_slits([0.0], 0.2))
        assert np.isnan(cube).all()


def hand_made(angle=40.0, speed=150.0, offset=(0.0, 0.0), flux=3.0, continuum=0.0, grid=None):
    """A round blob; the half towards the position angle recedes, the other approaches (km/s)."""
    grid = grid or make_grid(31, 31, channels=61)
    x, y = np.meshgrid(*grid.axes())
    east, north = -x, y  # the grid's angle is 0
    east, north = east - offset[0], north - offset[1]
    image = np.exp(-0.5 * (east**2 + north**2) / 0.25**2)
    image *= flux / (image.sum() * grid.scale**2)
    major = east * np.sin(np.deg2rad(angle)) + north * np.cos(np.deg2rad(angle))
    velocity = speed * np.sign(np.where(np.abs(major) < 1e-9, 0, major))
    channel = (grid.wavelengths / CENTRE - 1) * C
    width = BANDPASS / CENTRE * C
    profile = np.exp(-0.5 * ((channel[:, None, None] - velocity) / 80.0) ** 2)
    profile *= width / (np.sqrt(2 * np.pi) * 80.0) / BANDPASS
    slope = continuum * (1 + 0.3 * channel / 1000)
    return grid, profile * image + slope[:, None, None]


class TestMeasureLine:
    SOURCE = replace(GALAXY, position_angle=40.0)

    def measure(self, grid, cube, **more):
        window = grid.window(*line_window(self.SOURCE, LINE))
        keep = np.isin(grid.wavelengths, window.wavelengths)
        more = {k: v[keep] if k == "err" else v for k, v in more.items()}
        return measure_line(self.SOURCE, LINE, window, cube[keep], **more)

    @pytest.mark.parametrize("continuum", [0.0, 2.0])
    def test_flux_centroid_and_rotation(self, continuum):
        seen = self.measure(*hand_made(offset=(0.07, -0.04), continuum=continuum))
        assert seen.flux == pytest.approx(3.0, rel=1e-6)
        assert seen.east == pytest.approx(0.07, abs=1e-6)
        assert seen.north == pytest.approx(-0.04, abs=1e-6)
        assert np.isnan(seen.flux_error)

    def test_rotation_has_size_and_sign(self):
        """The apertures on the major axis lie in one half each: 150 km/s, either way."""
        assert self.measure(*hand_made(speed=150.0)).rotation == pytest.approx(150, abs=1e-3)
        assert self.measure(*hand_made(speed=-150.0)).rotation == pytest.approx(-150, abs=1e-3)
        assert self.measure(*hand_made(angle=130.0)).rotation == pytest.approx(0, abs=10.0)

    def test_the_window_is_1500_km_per_s_on_either_side(self):
        low, high = line_window(self.SOURCE, LINE)
        np.testing.assert_allclose(np.array([low, high]) / CENTRE - 1, [-1500 / C, 1500 / C])

    def test_error_of_the_flux(self):
        grid, cube = hand_made()
        seen = self.measure(grid, cube, err=np.full(cube.shape, 0.5))
        n_on = (np.abs(grid.wavelengths / CENTRE - 1) * C < 700).sum()
        expected = 0.5 * BANDPASS * 0.01 * np.sqrt(n_on * 31 * 31)
        assert seen.flux_error == pytest.approx(expected, rel=1e-9)

    def test_only_spaxels_inside_count(self):
        grid, cube = hand_made()
        x, y = np.meshgrid(*grid.axes())
        inside = np.hypot(x, y) < 0.45
        seen = self.measure(grid, cube, inside=inside)
        image = np.exp(-0.5 * (x**2 + y**2) / 0.25**2)
        assert seen.flux == pytest.approx(3 * image[inside].sum() / image.sum(), rel=1e-6)

    def test_a_spaxel_with_holes_beside_the_line_is_left_out(self):
        """Its continuum is not known; it must not be taken for light of the line."""
        grid, cube = hand_made(continuum=5.0)
        cube[5, 3, 3] = np.nan
        assert self.measure(grid, cube).flux == pytest.approx(3.0, rel=1e-5)
        flux, _ = velocity_map(self.SOURCE, LINE, grid, cube)
        assert flux[3, 3] == 0

    def test_without_light_there_is_nothing_to_measure(self):
        grid, cube = hand_made()
        seen = self.measure(grid, np.full(cube.shape, np.nan))
        assert seen.flux == 0
        assert np.isnan([seen.east, seen.north, seen.rotation]).all()

    def test_a_rotating_disk_through_the_psf(self):
        """In the truth of a galaxy: flux, place, and, smeared, 0.8 of its speed at 0.35 arcsec."""
        source = replace(
            self.SOURCE, ra=150.00002, truncation=5.0, clumps=(), rotation=200.0, turnover=0.1
        )
        grid = make_grid(33, 33, channels=61, angle=25.0).window(*line_window(source, LINE))
        seen = measure_line(source, LINE, grid, truth_cube(Scene((source,)), PSF, grid))
        assert seen.flux == pytest.approx(source.line_brightness(LINE), rel=1e-3)
        assert np.hypot(seen.east, seen.north) < 1e-4
        speed = 200 * 2 / np.pi * np.arctan(3.5) * np.sin(np.deg2rad(50))
        assert 0.7 < seen.rotation / speed < 0.9

    def test_velocity_map(self):
        grid, cube = hand_made(offset=(0.03, 0.02))
        flux, velocity = velocity_map(self.SOURCE, LINE, grid, cube)
        assert flux.sum() * 0.01 == pytest.approx(3.0, rel=1e-6)
        x, y = np.meshgrid(*grid.axes())
        major = (-x - 0.03) * np.sin(np.deg2rad(40)) + (y - 0.02) * np.cos(np.deg2rad(40))
        bright = flux > 1e-3 * flux.max()
        np.testing.assert_allclose(velocity[bright], 150 * np.sign(major)[bright], atol=0.01)
