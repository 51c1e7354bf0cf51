"""The repair of plain tables, as jwst reads them."""

from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from disease import X, Y, infect, write
from jwst.assign_wcs.nirspec import get_open_msa_slits

from msa3d_steps.relabel.metafile import repair_file
from msa3d_steps.relabel.source_ids import recover_catalogue_ids, recover_ids
from msa3d_steps.relabel.tables import repair
from msa3d_steps.simulate.metafile import Slitlet, write_metafile

FIVE = Slitlet(7, 2, 295, 33, 5, 8512, "2136_8512", "8512", 150.12, 2.3, 0.1, 0.25, 0.75)
THREE = Slitlet(9, 3, 11, 120, 3, 123456, "2136_123456", "blob", 150.2, 2.4, 0.2, 0.375, 0.625)
SLITLETS = (FIVE, THREE)


@pytest.fixture
def healthy(tmp_path):
    return write_metafile(tmp_path / "healthy_msa.fits", SLITLETS, 4, 3)


def tables(path):
    """Tables of a metafile that may be changed."""
    with fits.open(path) as hdus:
        found = [np.array(hdus[name].data) for name in ("SHUTTER_INFO", "SOURCE_INFO")]
    return [table.astype(table.dtype.newbyteorder("=")) for table in found]


@pytest.fixture
def shutters(healthy):
    return tables(healthy)[0]


@pytest.fixture
def sources(healthy):
    return tables(healthy)[1]


def fits_of(path, healthy, rows):
    with fits.open(healthy) as hdus:
        write(path, hdus, rows)
    return path


def jwst_reads(folder, healthy, rows, dither, metadata_id=3):
    path = folder / "read_msa.fits"
    path.unlink(missing_ok=True)
    slits = get_open_msa_slits("2136", fits_of(path, healthy, rows), metadata_id, dither)
    return {int(slit.name): slit for slit in slits}


def same(one, other):
    return len(one) == len(other) and all(
        np.array_equal(one[name], other[name], equal_nan=one[name].dtype.kind == "f")
        for name in one.dtype.names
    )


def test_every_shutter_is_the_galaxys_at_every_dither(healthy, tmp_path):
    ill = infect(healthy, tmp_path / "ill_msa.fits")
    report = repair_file(ill, tmp_path / "repaired_msa.fits", {3: (4, 4)})
    for dither in (1, 2, 3, 4):
        slits = get_open_msa_slits("2136", str(report.path), 3, dither)
        assert [slit.name for slit in slits] == [7, 9]
        for slit, slitlet in zip(slits, SLITLETS, strict=True):
            assert (slit.quadrant, slit.xcen, slit.ycen) == (slitlet.quadrant, slitlet.x, slitlet.y)
            assert (slit.source_id, slit.source_name) == (slitlet.source_id, slitlet.source_name)
            assert (slit.source_ra, slit.source_dec) == (slitlet.ra, slitlet.dec)
            assert slit.shutter_state == slitlet.shutter_state
            # known at the first dither point only
            assert slit.source_xpos == slitlet.source_x - 0.5
            assert slit.source_ypos == slitlet.source_y - 0.5
    with fits.open(report.path) as hdus:
        rows = hdus["SHUTTER_INFO"].data
        assert len(rows) == 4 * (5 + 3)
        assert set(rows["source_id"]) == {8512, 123456}
        assert set(rows["shutter_state"]) == {"OPEN"}
    assert [done.source_ids for done in report.of(3)] == [(8512,), (123456,)]
    assert report.problems(3) == []
    (warning,) = report.warnings(3)
    assert str(warning) == "ill_msa.fits, slit 9: source id -7616 is 123456, cut to 16 bits"


def test_repaired_tables_are_not_changed_again(healthy, shutters, sources):
    once, catalogue, repairs = repair(shutters, sources)
    again, _, none = repair(once, catalogue)
    assert len(repairs) == 2
    assert none == ()
    assert same(again, once)


def test_input_is_not_changed(shutters, sources):
    before = shutters.copy(), sources.copy()
    repair(shutters, sources)
    assert same(shutters, before[0])
    assert same(sources, before[1])


def test_metadata_ids_are_repaired_each_on_its_own(shutters, sources):
    """Another one neither gives a galaxy nor dither points, nor is it changed."""
    other = repair(shutters, sources)[0]
    other["msa_metadata_id"] = 4
    other = other[other["dither_point_index"] < 3]
    virtual = shutters.copy()
    virtual["msa_metadata_id"] = 5
    virtual["source_id"] = -np.abs(virtual["source_id"])
    rows = np.concatenate([other, shutters.astype(other.dtype), virtual.astype(other.dtype)])
    found, _, repairs = repair(rows, sources, {3: [9]})
    assert same(found[: len(other)], other)
    assert set(found["dither_point_index"][found["msa_metadata_id"] == 4]) == {1, 2}
    assert set(found["dither_point_index"][found["msa_metadata_id"] == 3]) == {1, 2, 3, 4, 9}
    assert np.all(found["source_id"][found["msa_metadata_id"] == 5] < 0)
    said = [(done.metadata_id, done.slitlet_id, bool(done.changed)) for done in repairs]
    assert said == [(3, 7, True), (3, 9, True), (5, 7, False), (5, 9, False)]
    assert "no galaxy under metadata id 5, though 8512" in repairs[2].warnings[0]


def test_fixed_slits_stay_as_they_are(shutters, sources):
    fixed = shutters[:2].copy()
    fixed["fixed_slit"], fixed["primary_source"], fixed["slitlet_id"] = "S200A1", "Y", 7
    fixed["source_id"] = (8512, -4)
    found = repair(np.concatenate([fixed, shutters]), sources)[0]
    assert same(found[:2], fixed.astype(found.dtype))
    assert set(found["dither_point_index"][found["fixed_slit"] == b"S200A1"]) == {1}


def test_gaps_between_dither_points_are_filled(shutters, sources, healthy, tmp_path):
    rows = shutters[shutters["dither_point_index"] != 2]
    found, _, repairs = repair(rows, sources)
    assert sorted(jwst_reads(tmp_path, healthy, found, 2)) == [7, 9]
    assert [done.added for done in repairs] == [5, 3]


def test_shutters_that_were_listed_once_are_open_for_good(shutters, sources, healthy, tmp_path):
    edge = (shutters["slitlet_id"] == 7) & np.isin(shutters["shutter_column"], (31, 35))
    rows = shutters[~edge | (shutters["dither_point_index"] == 1)]
    assert jwst_reads(tmp_path, healthy, rows, 4)[7].shutter_state == "1x1"
    found = repair(rows, sources)[0]
    assert jwst_reads(tmp_path, healthy, found, 4)[7].shutter_state == "11x11"


def test_background_stays_background(shutters, sources, healthy, tmp_path):
    seven = shutters["slitlet_id"] == 7
    shutters["source_id"][seven], shutters["primary_source"][seven] = 0, "N"
    shutters["background"][seven] = "Y"
    found = repair(shutters, sources, {3: [1, 6]})[0]
    for dither in (1, 6):
        slit = jwst_reads(tmp_path, healthy, found, dither)[7]
        assert (slit.source_name, slit.shutter_state) == ("2136_BKG7", "11x11")
    assert set(found["source_id"][found["slitlet_id"] == 7]) == {0}


def test_virtual_sources_stay_and_do_not_break_jwst(shutters, sources, healthy, tmp_path):
    seven = shutters["slitlet_id"] == 7
    shutters["source_id"][seven] = -5
    shutters["primary_source"][seven & (shutters["shutter_column"] == 31)] = "Y"
    with pytest.raises(Exception, match="more than 1 shutter with primary"):
        jwst_reads(tmp_path, healthy, shutters, 1)
    found = repair(shutters, sources)[0]
    assert jwst_reads(tmp_path, healthy, found, 1)[7].source_id == -5


def test_own_shutter_is_the_most_frequent_one(shutters, sources, healthy, tmp_path):
    """At one of four dither points the galaxy is said to be in the next shutter."""
    ill = (shutters["slitlet_id"] == 7) & (shutters["dither_point_index"] == 3)
    rows = shutters[ill]
    lower, upper = rows["shutter_column"] == 33, rows["shutter_column"] == 34
    for name in ("source_id", "background", "primary_source"):
        rows[name][upper], rows[name][lower] = rows[name][lower], rows[name][upper]
    rows[X][upper], rows[Y][upper] = 0.5, 0.125
    rows[X][lower] = rows[Y][lower] = np.nan
    shutters[ill] = rows
    found = repair(shutters, sources)[0]
    for dither, place in ((1, 0.75), (3, 1.125), (4, 0.75)):
        slit = jwst_reads(tmp_path, healthy, found, dither)[7]
        assert (slit.ycen, slit.source_ypos) == (33, place - 0.5)


def test_closed_once_is_open(shutters, sources):
    shutters["shutter_state"][shutters["dither_point_index"] == 2] = "CLOSED"
    assert set(repair(shutters, sources)[0]["shutter_state"]) == {b"OPEN"}


def test_rows_that_are_doubled(shutters, sources):
    found, _, repairs = repair(np.concatenate([shutters, shutters[3:5]]), sources)
    assert same(found, repair(shutters, sources)[0])
    assert sum(done.removed for done in repairs) == 2


def test_shutters_in_two_places_are_refused(shutters, sources):
    shutters["shutter_row"][shutters["shutter_column"] == 35] = 296
    found, _, repairs = repair(shutters, sources)
    assert repairs[0].problem.startswith("its shutters are in quadrant 2, row 295 and quadrant 2")
    assert set(found["slitlet_id"]) == {9}


def test_galaxy_without_catalogue_entry(shutters, sources):
    repairs = repair(shutters, sources[sources["source_id"] != 8512])[2]
    assert repairs[0].warnings[0].startswith("galaxy 8512 is not in SOURCE_INFO")


def with_second(shutters, sources, column, apart, y=0.5):
    """Put galaxy 40 into a shutter of slitlet 7, so many arcsec from the first."""
    seat = (shutters["slitlet_id"] == 7) & (shutters["shutter_column"] == column)
    shutters["source_id"][seat], shutters[X][seat], shutters[Y][seat] = 40, 0.25, y
    shutters["primary_source"][seat], shutters["background"][seat] = "Y", "N"
    second = sources[:1].copy()
    second["source_id"], second["source_name"] = 40, "2136_40"
    second["ra"], second["dec"] = FIVE.ra, FIVE.dec + apart / 3600
    return shutters, np.concatenate([sources, second])


@pytest.mark.parametrize(
    ("column", "y", "shares"),
    [
        # from 33.25 to 35: 34 is nearer to the first
        (35, 0.5, {40: [35], 8512: [31, 32, 33, 34]}),
        # from 33.25 to 34.5: 35 is nearer to the second
        (34, 1.0, {40: [34, 35], 8512: [31, 32, 33]}),
        # from 33.25 to 31
        (31, 0.5, {40: [31, 32], 8512: [33, 34, 35]}),
    ],
)
def test_two_galaxies_are_parted(healthy, shutters, sources, tmp_path, column, y, shares):
    apart = 0.53 * abs(column + y - 0.5 - 33.25)
    found, catalogue, repairs = repair(*with_second(shutters, sources, column, apart, y))
    path = tmp_path / "parted_msa.fits"
    with fits.open(healthy) as hdus:
        hdus["SOURCE_INFO"] = fits.BinTableHDU(catalogue, name="SOURCE_INFO")
        write(path, hdus, found)
    for dither in (1, 4):
        slits = get_open_msa_slits("2136", str(path), 3, dither)
        got = {int(slit.source_id): slit for slit in slits}
        # the first by number keeps the slitlet's, the other has the next that is free
        assert {number: int(slit.name) for number, slit in got.items()} == {
            40: 7, 8512: 10, 123456: 9,
        }  # fmt: skip
        assert (got[40].ycen, got[8512].ycen) == (column, 33)
        assert len(got[40].shutter_state) == len(shares[40])
        assert len(got[8512].shutter_state) == len(shares[8512])
    for number, columns in shares.items():
        mine = found[found["source_id"] == number]
        assert sorted(set(mine["shutter_column"].tolist())) == columns
    assert "has 2 galaxies and was parted: galaxy 40 has" in repairs[0].warnings[0]
    assert repair(found, catalogue)[2] == ()


@pytest.mark.parametrize(
    ("column", "y", "apart", "words"),
    [
        (35, 1.0, 2.0, "they are 2.00 arcsec apart in SOURCE_INFO and 1.19 in the slitlet"),
        (35, 0.25, 0.8, "shutter 34 is as near to either"),
    ],
)
def test_two_galaxies_that_cannot_be_parted(shutters, sources, column, y, apart, words):
    found, _, repairs = repair(*with_second(shutters, sources, column, apart, y))
    assert repairs[0].source_ids == (40, 8512)
    assert words in repairs[0].problem
    assert set(found["slitlet_id"]) == {9}


def test_shutter_of_two_galaxies(shutters, sources):
    rows, catalogue = with_second(shutters, sources, 34, 0.4)
    rows["source_id"][(rows["source_id"] == 8512) & (rows["dither_point_index"] == 2)] = 40
    problem = repair(rows, catalogue)[2][0].problem
    assert "shutter 33 is given to more than one" in problem
    assert "give each its own slitlet_id" in problem


def test_mixed_shutters(shutters, sources):
    rows, catalogue = with_second(shutters, sources, 35, 0.9)
    rows["source_id"][(rows["slitlet_id"] == 7) & (rows["shutter_column"] == 31)] = 40
    assert "their shutters are mixed" in repair(rows, catalogue)[2][0].problem


def test_many_slitlets_need_a_wider_column(shutters, sources):
    shutters["slitlet_id"][shutters["slitlet_id"] == 9] = 2**15 - 1
    found = repair(*with_second(shutters, sources, 35, 0.93))[0]
    assert set(found["slitlet_id"]) == {7, 2**15 - 1, 2**15}


@pytest.mark.parametrize(
    ("given", "catalogue", "full", "doubtful"),
    [
        (-7616, [123456], 123456, False),  # 123456 - 2 * 65536
        (123, [123456], 123456, False),  # without its last three digits
        (-25536, [40000], 40000, False),
        (8512, [8512, 40000], 8512, False),
        (7, [123456], 7, False),  # unknown
        (1, [65537, 131073], 1, True),
        (1, [1, 65537], 1, True),
        (0, [65536], 0, False),  # background
    ],
)
def test_ids_that_lost_digits(given, catalogue, full, doubtful):
    ids, recovered, doubts = recover_ids(np.array([given], np.int16), np.array(catalogue))
    assert ids.tolist() == [full]
    assert recovered == ({full: given} if full != given else {})
    assert (given in doubts) == doubtful


def test_wide_columns_have_lost_nothing():
    ids, recovered, _ = recover_ids(np.array([-7616], np.int32), np.array([123456]))
    assert (ids.tolist(), recovered) == ([-7616], {})


def test_catalogue_that_lost_digits():
    ids = np.array([-7616, 5, -7616, 8512], np.int16)
    names = np.array(["2136_123456", "2136_5", "2136_99999", "mine"])
    assert recover_catalogue_ids(ids, names).tolist() == [123456, 5, -7616, 8512]


def test_place_at_the_nearest_dither(shutters, sources, healthy, tmp_path):
    own = (shutters["slitlet_id"] == 7) & (shutters["primary_source"] == b"Y")
    shutters[Y][own] = (0.25, np.nan, np.nan, 0.75)
    found = repair(shutters, sources)[0]
    places = [jwst_reads(tmp_path, healthy, found, dither)[7].source_ypos for dither in range(1, 5)]
    assert places == [-0.25, -0.25, 0.25, 0.25]


def test_early_files_have_no_column_for_fixed_slits(shutters, sources):
    early = shutters[[name for name in shutters.dtype.names if name != "fixed_slit"]].copy()
    found = repair(early, sources)[0]
    assert set(found["source_id"]) == {8512, 123456}


def test_text_may_be_text(shutters, sources):
    types = [
        (n, f"U{t.itemsize}" if t.kind == "S" else t)
        for n, (t, _) in ((n, shutters.dtype.fields[n]) for n in shutters.dtype.names)
    ]
    found = repair(shutters.astype(types), sources)[0]
    assert same(found.astype(repair(shutters, sources)[0].dtype), repair(shutters, sources)[0])


def test_slitlets_of_one_galaxy(tmp_path):
    """A galaxy may have two slitlets."""
    other = replace(FIVE, slitlet_id=8, x=300)
    found, _, repairs = repair(*tables(write_metafile(tmp_path / "a_msa.fits", [FIVE, other], 1)))
    assert set(found["source_id"]) == {8512}
    assert [done.slitlet_id for done in repairs] == [7, 8]
