"""Headers are read without data, and tell whether a file is whole."""

import numpy as np
import pytest
from astropy.io import fits

from msa3d_steps.association.headers import read_headers
from msa3d_steps.errors import InputError

LONG = "/a/very/long/path/" + "x" * 120 + "/jw02136001001_01_msa.fits"


@pytest.fixture
def path(tmp_path):
    primary = fits.PrimaryHDU()
    primary.header["MSAMETFL"] = LONG
    primary.header["NOTHING"] = None
    primary.header["COMMENT"] = "RA_REF  = 5.0"
    for i in range(60):  # several blocks of cards
        primary.header[f"KEY{i}"] = (0.1 * i, "a comment")
    table = fits.BinTableHDU.from_columns(
        [fits.Column("a", "PJ()", array=np.array([[1], [2, 3]], dtype=object))], name="TABLE"
    )
    images = [
        fits.ImageHDU(np.zeros((5, 7, 11), np.int16), name="SCI"),
        fits.ImageHDU(name="EMPTY"),
        fits.CompImageHDU(np.arange(10000, dtype=np.int16).reshape(100, 100), name="PACKED"),
    ]
    path = tmp_path / "a.fits"
    fits.HDUList([primary, *images, table]).writeto(path)
    return path


def test_values_are_those_of_astropy(path):
    headers = read_headers(path)
    with fits.open(path, disable_image_compression=True) as file:
        assert len(headers) == len(file)
        for header, hdu in zip(headers, file, strict=True):
            assert header.get("EXTNAME") == hdu.header.get("EXTNAME")
            assert header.data_size() == hdu.size
    assert headers[0].get("MSAMETFL") == LONG
    assert headers[0].get("KEY59") == pytest.approx(5.9)
    assert headers[0].get("NOTHING", 3) == 3
    assert headers[0].get("RA_REF") is None  # in a comment


def test_every_truncation_is_found(path):
    """But for those where an extension ends: what is left is a whole file of fewer extensions."""
    with fits.open(path, disable_image_compression=True) as file:
        ends = [hdu.fileinfo()["datLoc"] + hdu.fileinfo()["datSpan"] for hdu in file]
    data = path.read_bytes()
    assert ends[-1] == len(data)
    for size in (*range(2880, len(data), 2880), 100, len(data) - 1):
        path.write_bytes(data[:size])
        if size in ends:
            assert len(read_headers(path)) == ends.index(size) + 1
        else:
            with pytest.raises(InputError, match="cut short"):
                read_headers(path)


def test_what_is_no_fits_file(tmp_path):
    (tmp_path / "a.fits").write_text("hello")
    with pytest.raises(InputError, match="no FITS file"):
        read_headers(tmp_path / "a.fits")
    with pytest.raises(InputError, match="no such file"):
        read_headers(tmp_path / "b.fits")
