"""The file of the line maps: what is in it, and that stock software reads it."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from line_scene import Galaxy, view_of_galaxy
from stdatamodels.jwst import datamodels

from msa3d_steps import MSACubeModel, MSALineMapsModel
from msa3d_steps.quicklook.lines import LineChoice
from msa3d_steps.quicklook.mapfile import as_model
from msa3d_steps.quicklook.moments import map_line

UNITS = {
    "FLUX": "erg s-1 cm-2 arcsec-2", "FLUX_ERR": "erg s-1 cm-2 arcsec-2", "VELOCITY": "km/s",
    "VELOCITY_ERR": "km/s", "DISPERSION": "km/s", "DISPERSION_ERR": "km/s", "CONTINUUM": "MJy/sr",
    "MASK": None, "APERTURE": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def view():
    return view_of_galaxy(Galaxy({0.500824: 2e-3}, redshift=1.45, continuum=0.1), seed=1, ny=20)


@pytest.fixture(scope="module")
def maps(view):
    known = LineChoice("[OIII]5007", 0.500824, 0.500824 * 2.45, 1.45)
    return [
        map_line(view, choice) for choice in (known, LineChoice("line at 1.2400 um", None, 1.24))
    ]


@pytest.fixture(scope="module")
def path(view, maps, tmp_path_factory):
    cube = MSACubeModel()
    cube.meta.filename, cube.meta.target.proposer_name = "x_s000000001_s3d.fits", "A2744"
    cube.meta.msa3d.key, cube.meta.msa3d.version = "abc", "0.1.0"
    cube.meta.wcsinfo.specsys = "BARYCENT"
    folder = tmp_path_factory.mktemp("maps")
    return as_model(view, maps, cube, snr=3.0).save(str(folder / "x_s000000001_linemaps.fits"))


def test_every_map_has_its_own_wcs_and_unit(path, view, maps):
    with fits.open(path) as file:
        for number, line in enumerate(maps, 1):
            for name, unit in UNITS.items():
                hdu = file[name, number]
                np.testing.assert_array_equal(hdu.data, getattr(line, name.lower()))
                assert hdu.header.get("BUNIT") == unit
                assert hdu.header["LINE"] == line.name
                assert hdu.header["SPECSYS"] == "BARYCENT"
                assert hdu.header.get("REDSHIFT") == line.redshift
                assert hdu.header["WAVELEN"] == line.wavelength
                assert hdu.header["TOTFLUX"] == pytest.approx(line.total_flux, rel=1e-12)
                ra, dec = WCS(hdu.header).wcs_pix2world([[3, 17]], 0)[0]
                assert (ra, dec) == pytest.approx(view.wcs.wcs_pix2world([[3, 17]], 0)[0], abs=1e-9)
        assert "RESTWAV" not in file["FLUX", 2].header
        head = file[0].header
        assert (head["CUBEFILE"], head["MSA3DKEY"]) == ("x_s000000001_s3d.fits", "abc")
        assert (head["TARGPROP"], head["NLINES"]) == ("A2744", 2)
        assert head["FILENAME"] == "x_s000000001_linemaps.fits"
        table = file["LINES"].data
        assert table["line"].tolist() == [line.name for line in maps]
        assert table["total_snr"] == pytest.approx([line.total_snr for line in maps])
        assert np.isnan(table["rest"][1])
    lines = QTable.read(path, "LINES")
    assert lines["wavelength"].unit == lines["rest"].unit == lines["window_low"].unit == u.um
    assert lines["total_flux"].unit == lines["total_flux_err"].unit == u.erg / u.s / u.cm**2


def test_stock_software_opens_it_without_a_warning(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with datamodels.open(path) as model:
            assert type(model) is datamodels.JwstDataModel
            assert model.meta.target.proposer_name == "A2744"


def test_opened_and_saved_again_it_is_the_same(path, view, maps, tmp_path):
    with MSALineMapsModel(path) as model:
        assert [line.name for line in model.lines] == [line.name for line in maps]
        assert model.lines[0].redshift == 1.45
        assert model.lines[1].redshift is None
        np.testing.assert_array_equal(model.lines[0].velocity, maps[0].velocity)
        assert model.wcs.wcs_pix2world([[3, 17]], 0) == pytest.approx(
            view.wcs.wcs_pix2world([[3, 17]], 0), abs=1e-9
        )
        again = model.save(str(tmp_path / "again.fits"))
    with fits.open(path) as first, fits.open(again) as second:
        assert [(h.name, h.ver) for h in first] == [(h.name, h.ver) for h in second]
        assert first["LINES"].columns.units == second["LINES"].columns.units
        for one, two in zip(first[1:-1], second[1:-1], strict=True):
            difference = fits.HeaderDiff(one.header, two.header)
            assert difference.identical, difference.report()
            assert np.asarray(one.data).tobytes() == np.asarray(two.data).tobytes()


def test_no_lines_and_no_cube(view, tmp_path):
    path = as_model(view, []).save(str(tmp_path / "none.fits"))
    with MSALineMapsModel(path) as model:
        assert not len(model.lines)
        assert model.meta.msa3d.n_lines == 0


def test_whole_or_not_at_all(view, maps, tmp_path, monkeypatch):
    """A disk that is full after a part of the file leaves the old file and nothing else."""
    path = tmp_path / "x_linemaps.fits"
    path.write_text("old")

    def fill(self, name, *args, **kwargs):
        with open(name, "w") as file:  # noqa: PTH123
            file.write("SIMPLE")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fits.HDUList, "writeto", fill)
    with pytest.raises(OSError, match="No space left"):
        as_model(view, maps).save(str(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "old"
