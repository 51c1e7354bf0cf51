from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from jwst.assign_wcs.nirspec import get_open_msa_slits

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.metafile import Slitlet, write_metafile

FIVE = Slitlet(7, 2, 295, 33, 5, 8512, "2136_8512", "8512", 270.123456789, 52.987654321, 0.1)
THREE = Slitlet(9, 3, 11, 120, 3, 123456, "2136_123456", "blob", 270.2, 53.0, 0.2, 0.3, 0.6)
TWO = Slitlet(12, 1, 365, 170, 2, 40, "2136_40", "40", 270.3, 53.1, 0.0)
SLITLETS = (FIVE, THREE, TWO)


def read(path, dither, metadata_id=1):
    """What jwst finds in a metafile for one exposure, by slitlet number."""
    slits = get_open_msa_slits("2136", str(path), metadata_id, dither)
    return {int(slit.name): slit for slit in slits}


@pytest.mark.parametrize("nuisance", [True, False])
def test_jwst_finds_every_slitlet_whole_at_every_dither(tmp_path, nuisance):
    path = write_metafile(tmp_path / "a_msa.fits", SLITLETS, 4, 3, nuisance=nuisance)
    for dither in (1, 2, 3, 4):
        found = read(path, dither, 3)
        assert list(found) == [7, 9, 12]
        for slitlet in SLITLETS:
            slit = found[slitlet.slitlet_id]
            assert (slit.quadrant, slit.xcen, slit.ycen) == (slitlet.quadrant, slitlet.x, slitlet.y)
            assert slit.source_id == slitlet.source_id
            assert (slit.source_name, slit.source_alias) == (slitlet.source_name, slitlet.alias)
            assert slit.stellarity == slitlet.stellarity
            assert slit.shutter_state == slitlet.shutter_state
            assert slit.dither_position == dither


def test_shutter_states():
    assert [slitlet.shutter_state for slitlet in SLITLETS] == ["11x11", "1x1", "x1"]
    assert list(FIVE.columns) == [31, 32, 33, 34, 35]
    assert list(TWO.columns) == [170, 171]


def test_places_of_sources_lose_nothing(tmp_path):
    # single precision would move this source by up to 0.055 arcsec
    slit = read(write_metafile(tmp_path / "a_msa.fits", SLITLETS, 1), 1)[7]
    assert (slit.source_ra, slit.source_dec) == (FIVE.ra, FIVE.dec)
    assert abs(float(np.float32(FIVE.ra)) - FIVE.ra) * 3600 > 0.01


def test_place_in_the_shutter(tmp_path):
    slit = read(write_metafile(tmp_path / "a_msa.fits", SLITLETS, 1), 1)[9]
    assert slit.source_xpos == pytest.approx(0.3 - 0.5, abs=1e-6)
    assert slit.source_ypos == pytest.approx(0.6 - 0.5, abs=1e-6)


def test_other_exposures_have_no_slitlets(tmp_path):
    path = write_metafile(tmp_path / "a_msa.fits", SLITLETS, 2, 3)
    assert read(path, 3, 3) == {}
    assert read(path, 1, 1) == {}


def test_background_shutters_have_negative_ids_of_their_own(tmp_path):
    path = write_metafile(tmp_path / "a_msa.fits", SLITLETS, 3)
    shutters, sources = fits.getdata(path, "SHUTTER_INFO"), fits.getdata(path, "SOURCE_INFO")
    assert len(shutters) == 3 * (5 + 3 + 2)
    beside = shutters[shutters["primary_source"] == "N"]
    assert set(beside["background"]) == {"Y"}
    assert np.all(beside["source_id"] < 0)
    assert np.all(np.isnan(beside["estimated_source_in_shutter_x"]))
    # seven shutters beside the sources', each with the same id at every dither point
    ids, counts = np.unique(beside["source_id"], return_counts=True)
    assert (len(ids), set(counts)) == (7, {3})
    assert set(ids) | {8512, 123456, 40} == set(sources["source_id"])


def test_without_nuisance_background_shutters_have_no_id(tmp_path):
    path = write_metafile(tmp_path / "a_msa.fits", SLITLETS, 1, nuisance=False)
    shutters = fits.getdata(path, "SHUTTER_INFO")
    assert set(shutters["source_id"][shutters["primary_source"] == "N"]) == {0}
    assert set(fits.getdata(path, "SOURCE_INFO")["source_id"]) == {8512, 123456, 40}


def test_format_is_the_documented_one(tmp_path):
    path = write_metafile(tmp_path / "jw02136001001_01_msa.fits", SLITLETS, 1)
    with fits.open(path) as hdus:
        assert [hdu.name for hdu in hdus[1:]] == ["SHUTTER_IMAGE", "SHUTTER_INFO", "SOURCE_INFO"]
        image = hdus["SHUTTER_IMAGE"]
        assert (image.header["NAXIS1"], image.header["NAXIS2"]) == (342, 730)
        assert image.data.sum() == 5 + 3 + 2
        forms = dict(zip(hdus[2].columns.names, hdus[2].columns.formats, strict=True))
        assert len(forms) == 13
        assert (forms["slitlet_id"], forms["source_id"], forms["fixed_slit"]) == ("I", "J", "8A")
        forms = dict(zip(hdus[3].columns.names, hdus[3].columns.formats, strict=True))
        assert (forms["ra"], forms["dec"], forms["stellarity"]) == ("D", "D", "D")
        assert hdus[0].header["FILENAME"] == path.name


def test_same_input_same_bytes_and_nothing_else_left(tmp_path):
    one = write_metafile(tmp_path / "a_msa.fits", SLITLETS, 3).read_bytes()
    assert write_metafile(tmp_path / "a_msa.fits", SLITLETS, 3).read_bytes() == one
    assert [path.name for path in tmp_path.iterdir()] == ["a_msa.fits"]


def test_failure_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_metafile(tmp_path / "a_msa.fits", SLITLETS, 3)
    old = path.read_bytes()

    def interrupted(hdus, stream, **_):
        stream.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(fits.HDUList, "writeto", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_metafile(path, SLITLETS, 2)
    assert path.read_bytes() == old
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("slitlets", "words"),
    [
        ([], "no slitlet"),
        ([replace(FIVE, x=366)], "leave the quadrant"),
        ([replace(FIVE, y=2)], "leave the quadrant"),
        ([replace(TWO, y=171)], "leave the quadrant"),
        ([replace(FIVE, quadrant=5)], "leave the quadrant"),
        ([replace(FIVE, slitlet_id=2**15)], "does not fit"),
        ([replace(FIVE, source_id=-3)], "does not fit"),
        ([replace(FIVE, source_name="x" * 21)], "20 letters"),
        ([FIVE, replace(THREE, slitlet_id=7)], "two slitlets have slitlet id 7"),
        ([FIVE, replace(FIVE, slitlet_id=8, y=37)], r"two slitlets have shutter .*\(2, 295, 35\)"),
        ([FIVE, replace(THREE, source_id=8512)], "given to two sources"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, slitlets, words):
    with pytest.raises(InputError, match=words):
        write_metafile(tmp_path / "a_msa.fits", slitlets, 1)
    assert list(tmp_path.iterdir()) == []


def test_ids_beyond_16_bits_are_kept(tmp_path):
    path = write_metafile(tmp_path / "a_msa.fits", [replace(THREE, source_id=2**31 - 1)], 1)
    assert read(path, 1)[9].source_id == 2**31 - 1


def test_source_with_two_slitlets(tmp_path):
    other = replace(FIVE, slitlet_id=8, x=300)
    found = read(write_metafile(tmp_path / "a_msa.fits", [FIVE, other], 1), 1)
    assert [slit.source_id for slit in found.values()] == [8512, 8512]
