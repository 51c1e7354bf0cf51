"""Surveys of known patterns are found by their headers alone; what cannot work is refused."""

import numpy as np
import pytest
from astropy.io import fits
from tiny_exposures import (
    METAFILE,
    Place,
    snake,
    write_exposure,
    write_msa_metafile,
    write_survey,
)

from msa3d_steps.association import Choice, scan, table
from msa3d_steps.association.report import missing
from msa3d_steps.errors import InputError

ALL = range(1, 64)


def found_places(survey):
    """Step, dither and offsets of each file."""
    pattern = survey.pattern
    return {
        frame.path: (pattern.step[i], pattern.dither[i], pattern.across[i], pattern.along[i])
        for i, exposure in enumerate(survey.exposures)
        for frame in exposure.frames.values()
    }


def assert_found(survey, truth, tolerance=1e-4):
    """Every file has its own step, dither and offsets; offsets count from their median."""
    found = found_places(survey)
    assert found.keys() == truth.keys()
    middle = {
        axis: np.median([getattr(truth[e.first.path], axis) for e in survey.exposures])
        for axis in ("across", "along")
    }
    for path, place in truth.items():
        step, dither, across, along = found[path]
        assert (step, dither) == (place.step, place.dither)
        assert across == pytest.approx(place.across - middle["across"], abs=tolerance)
        assert along == pytest.approx(place.along - middle["along"], abs=tolerance)


def cal_survey(tmp_path, places, **options):
    folder = tmp_path / "data"
    return folder, write_survey(folder, places, kind="cal", **options)


@pytest.mark.parametrize("roll", [0.0, 41.4254303, 130.7])
def test_any_roll(tmp_path, roll):
    """Also with the slits due north (-V3I_YANG - 180 = 41.43 deg), where angles wrap."""
    folder, truth = cal_survey(tmp_path, snake(4, 2, roll=roll))
    survey = scan(folder)
    assert_found(survey, truth)
    angle = survey.exposures[0].first.pointing.position_angle
    assert (angle - roll - 318.5745697) % 360 == pytest.approx(0, abs=1e-6)


def test_snake(tmp_path):
    folder, truth = cal_survey(tmp_path, snake())
    survey = scan(folder)
    assert_found(survey, truth)
    assert (survey.pattern.n_steps, survey.pattern.n_dithers) == (9, 7)
    assert survey.pattern.step_size == pytest.approx(0.2, abs=1e-5)
    assert survey.pattern.dither_size == pytest.approx(0.075, abs=1e-5)
    assert (survey.program, survey.observations, survey.grating) == (
        "02136",
        ("001",),
        "G140H/F100LP",
    )
    assert len(survey.members) == 126
    assert survey.time == 63000.0
    assert missing(survey) == []


def test_pointing_errors_of_five_mas(tmp_path):
    folder, truth = cal_survey(tmp_path, snake(), jitter=0.005)
    assert_found(scan(folder), truth, tolerance=0.025)


def test_other_patterns(tmp_path):
    """Half-slit steps and two nods; uneven steps with one dither."""
    folder, truth = cal_survey(tmp_path / "1", snake(steps=6, dithers=2, step=0.1, dither=0.53))
    assert_found(scan(folder), truth)
    uneven = [Place(i, 0, x, 0.0) for i, x in enumerate((0.0, 0.2, 0.47, 0.66, 0.95))]
    folder, truth = cal_survey(tmp_path / "2", uneven)
    assert_found(scan(folder), truth)


def test_pointing_of_the_telescope_axis(tmp_path):
    """Where RA_REF is missing, RA_V1 tells the same."""
    folder, truth = cal_survey(tmp_path, snake(steps=3, dithers=2), axis=True)
    assert_found(scan(folder), truth)


def test_visits_turned_against_each_other(tmp_path):
    """A visit that is turned by 3 deg has steps of its own: 2 + 2."""
    folder, truth = cal_survey(tmp_path, snake(2, 2) + snake(2, 2, visit="002", roll=-46.27))
    survey = scan(folder)
    found = found_places(survey)
    for visit in ("001", "002"):
        steps = {found[p][0] for p, place in truth.items() if place.visit == visit}
        assert len(steps) == 2
    assert survey.pattern.n_steps == 4
    assert missing(survey) == []


def test_missing_exposure_is_named(tmp_path):
    """Number 12 of the snake is step 7 of dither 2, counted from 1."""
    folder, truth = cal_survey(tmp_path, snake(), without={12})
    survey = scan(folder)
    place = snake()[11]
    assert (place.step + 1, place.dither + 1) == (7, 2)
    assert_found(survey, truth)
    assert missing(survey) == [
        "no exposure at step 7, dither 2",
        "not here, by their numbers: jw02136001001_03101_00012",
    ]


def test_missing_detector_is_named(tmp_path):
    folder, truth = cal_survey(tmp_path, snake(), without={(20, "NRS2")})
    survey = scan(folder)
    assert_found(survey, truth)
    assert missing(survey) == ["no NRS2 file of jw02136001001_03101_00020"]


def test_detector_that_is_not_there_at_all(tmp_path):
    without = {(n, "NRS2") for n in range(1, 7)}
    folder, _ = cal_survey(tmp_path, snake(3, 2), without=without)
    assert missing(scan(folder)) == ["no file of NRS2 at all: the cubes will lack what it saw"]


def test_missing_step_leaves_room(tmp_path):
    places = [p for p in snake(5, 2) if p.step != 2]
    folder, _ = cal_survey(tmp_path, places)
    lines = missing(scan(folder))
    assert len(lines) == 1
    assert "between steps 2 and 3 there is room for 1 more step" in lines[0]


def two_gratings(tmp_path, **keys):
    """A survey of 2 x 2 with G140H, and one of 3 x 2 with the prism in the same slits."""
    folder, truth = cal_survey(tmp_path, snake(2, 2))
    prism = {"GRATING": "PRISM", "FILTER": "CLEAR", "ACT_ID": "02", "MSAMETID": 5} | keys
    return folder, truth, write_survey(folder, snake(3, 2), kind="cal", seed=2, **prism)


def test_two_gratings(tmp_path):
    """One survey, whose gratings have patterns of their own though their numbers differ."""
    folder, *truths = two_gratings(tmp_path)
    survey = scan(folder)
    assert survey.gratings == ("G140H/F100LP", "PRISM/CLEAR")
    assert survey.product == "jw02136-o001_{source_id}_nirspec"
    assert len(survey.members) == 20
    for own, truth in zip(survey.by_grating(), truths, strict=True):
        assert_found(own, truth)
    assert missing(survey) == []


def test_one_of_two_gratings(tmp_path):
    folder, truth, _ = two_gratings(tmp_path)
    survey = scan(folder, Choice(grating="g140h/f100lp"))
    assert_found(survey, truth)
    assert survey.product == "jw02136-o001_{source_id}_nirspec_f100lp-g140h"
    assert scan(folder, Choice(grating="PRISM")).grating == "PRISM/CLEAR"
    with pytest.raises(InputError, match="no G395H; there are"):
        scan(folder, Choice(grating="G395H"))


def test_two_gratings_are_shown_beside_each_other(tmp_path):
    """Each has its table; what is missing is told of its grating."""
    folder, *_ = two_gratings(tmp_path)
    lost = next(p for p in folder.iterdir() if fits.getval(p, "GRATING") == "PRISM")
    detector, number = (fits.getval(lost, name) for name in ("DETECTOR", "EXPOSURE"))
    lost.unlink()
    text = table(scan(folder))
    assert "instrument NIRSpec MSA, G140H/F100LP and PRISM/CLEAR, MSA configuration 1, 5" in text
    assert "pattern    G140H/F100LP: 2 steps of 0.200" in text
    assert "           PRISM/CLEAR: 3 steps of 0.200" in text
    assert text.count("slits at position angle") == 2
    name = f"jw02136001001_03102_{int(number):05d}"
    assert f"! PRISM/CLEAR: no {detector} file of {name}" in text
    assert "- each source gets a cube for each of G140H/F100LP, PRISM/CLEAR" in text


def test_grating_without_the_kind_that_is_taken(tmp_path):
    """Of two gratings one has rate files only: it is left out, and that is said."""
    folder, _ = cal_survey(tmp_path, snake(3, 2))
    prism = {"GRATING": "PRISM", "FILTER": "CLEAR", "ACT_ID": "02"}
    write_survey(folder, snake(2, 2), kind="rate", seed=2, **prism)
    survey = scan(folder)
    assert (survey.kind, survey.gratings) == ("cal", ("G140H/F100LP",))
    assert "PRISM/CLEAR is left out: it has no cal files" in str(survey.problems[0])


def test_several_configurations_in_one_grating(tmp_path):
    folder, *_ = two_gratings(tmp_path)
    write_survey(folder, snake(2, 2), kind="cal", seed=3, ACT_ID="03", MSAMETID=7)
    with pytest.raises(InputError, match=r"MSAMETID \(1: 8 files, 5: 12 files, 7: 8 files\)"):
        scan(folder)


def test_two_configurations(tmp_path):
    folder, truth = cal_survey(tmp_path, snake(2, 2))
    write_survey(folder, snake(2, 2, visit="002"), kind="cal", seed=2, MSAMETID=5)
    with pytest.raises(InputError, match=r"MSAMETID \(1: 8 files, 5: 8 files\).*--msa-id=1"):
        scan(folder)
    assert_found(scan(folder, Choice(msa_ids=(1,))), truth)
    assert len(scan(folder, Choice(msa_ids=(1, 5))).exposures) == 8


def test_two_programmes(tmp_path):
    folder, _ = cal_survey(tmp_path, snake(2, 1))
    write_survey(folder, snake(2, 1), kind="cal", seed=2, PROGRAM="02123")
    with pytest.raises(InputError, match=r"several programmes \(02123: 4 files, 02136: 4 files\)"):
        scan(folder)


def test_two_fields(tmp_path):
    folder, _ = cal_survey(tmp_path, [*snake(2, 1), Place(0, 0, 60.0, 0.0)])
    with pytest.raises(InputError, match="point up to 60 arcsec away"):
        scan(folder)


def test_acquisitions_are_skipped_with_a_word(tmp_path):
    folder, truth = cal_survey(tmp_path, snake(2, 2))
    for number in (8, 9):
        write_exposure(
            folder / f"{number}.fits", snake(1, 1)[0], number, "NRS1", EXP_TYPE="NRS_MSATA"
        )
    survey = scan(folder)
    assert_found(survey, truth)
    assert survey.notes == ("2 files of NRS_MSATA skipped: no MSA spectra (NRS_MSASPEC)",)


def test_folder_without_spectra(tmp_path):
    write_exposure(tmp_path / "a.fits", snake(1, 1)[0], 1, "NRS1", EXP_TYPE="NRS_IMAGE")
    with pytest.raises(InputError, match=r"no uncal, rate or cal files .*1 file of NRS_IMAGE"):
        scan(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: there are no FITS files"):
        scan(tmp_path / "empty")
    with pytest.raises(InputError, match="no such folder or file"):
        scan(tmp_path / "nowhere")


def test_truncated_file_is_named_and_left_out(tmp_path):
    folder, truth = cal_survey(tmp_path, snake(2, 2))
    broken = sorted(truth)[3]
    broken.write_bytes(broken.read_bytes()[:-2880])
    survey = scan(folder)
    assert_found(survey, {p: place for p, place in truth.items() if p != broken})
    (problem,) = survey.problems
    assert problem.file == str(broken)
    assert "cut short" in problem.message
    assert len(missing(survey)) == 1


def test_file_that_is_in_twice(tmp_path):
    folder, truth = cal_survey(tmp_path, snake(2, 1))
    original = sorted(truth)[0]
    (folder / "zz_copy.fits").write_bytes(original.read_bytes())
    survey = scan([folder, original])  # naming a file again is no copy
    assert_found(survey, truth)
    assert [p.file for p in survey.problems] == [str(folder / "zz_copy.fits")]


def test_folders_of_the_archive(tmp_path):
    """The archive gives each file a folder of its own."""
    _, truth = cal_survey(tmp_path, snake(2, 1))
    for path in truth:
        (tmp_path / "JWST" / path.stem).mkdir(parents=True)
        path.rename(tmp_path / "JWST" / path.stem / path.name)
    assert len(scan(tmp_path / "JWST").members) == 4


@pytest.mark.parametrize(
    ("kinds", "taken"),
    [(("rate", "cal"), "rate"), (("uncal", "cal"), "cal"), (("uncal",), "uncal")],
)
def test_preferred_kind(tmp_path, kinds, taken):
    write_msa_metafile(tmp_path, ALL)
    for seed, kind in enumerate(kinds):
        write_survey(tmp_path, snake(2, 1), kind=kind, seed=seed)
    survey = scan(tmp_path)
    assert survey.kind == taken
    assert [f"{taken} files are taken" in n for n in survey.notes] == [True] * (len(kinds) - 1)
    assert scan(tmp_path, Choice(kind=kinds[-1])).kind == kinds[-1]
    absent = next(k for k in ("uncal", "rate", "cal") if k not in kinds)
    with pytest.raises(InputError, match=f"no {absent} files"):
        scan(tmp_path, Choice(kind=absent))


def test_most_complete_kind_is_taken(tmp_path):
    write_survey(tmp_path, snake(2, 2), kind="cal")
    write_survey(tmp_path, snake(2, 2), kind="rate", seed=2, without={3})
    survey = scan(tmp_path)
    assert survey.kind == "cal"
    assert "most complete" in survey.notes[0]


def test_later_products_are_no_input(tmp_path):
    folder, truth = cal_survey(tmp_path, snake(2, 1))
    place = snake(1, 1)[0]
    for name, keys in {
        "s2d": {"kind": "cal", "S_RESAMP": "COMPLETE"},
        "crf": {"kind": "cal", "S_OUTLIR": "COMPLETE"},
        "x1d": {"kind": "MultiSpecModel"},
        "assign": {"kind": "rate", "S_WCS": "COMPLETE"},
        "rateints": {"kind": "CubeModel"},
    }.items():
        write_exposure(folder / f"{name}.fits", place, 1, "NRS1", **keys)
    survey = scan(folder)
    assert_found(survey, truth)
    (note,) = survey.notes
    assert note.endswith("1 crf, 1 intermediate, 1 rateints, 1 s2d, 1 x1d")


def test_sources_of_calibrated_slits(tmp_path):
    sources = ((7, "2136_7"), (100123, "2136_100123"), (5, "BKG_5"), (-3, "2136_-3"))
    folder, _ = cal_survey(tmp_path, snake(2, 1), sources=sources)
    survey = scan(folder)
    assert [s.label for s in survey.sources] == ["s000000007", "s000100123"]
    assert survey.select([7, "2136_100123", "b000000005"]) == ["7", "2136_100123", "b000000005"]
    with pytest.raises(InputError, match="no source 8; there are: 7, 100123"):
        survey.select([8])


def test_metafile_beside_the_exposures(tmp_path):
    write_survey(tmp_path, snake(2, 2))
    path = write_msa_metafile(tmp_path, ALL)
    survey = scan(tmp_path)
    assert survey.metafiles == (path,)
    assert survey.problems == ()
    assert [s.name for s in survey.sources] == ["2136_7", "2136_100123"]


def test_metafile_in_another_folder(tmp_path):
    write_survey(tmp_path / "rates", snake(2, 2))
    path = write_msa_metafile(tmp_path / "aux", ALL)
    with pytest.raises(InputError, match=rf"{METAFILE} is not in .*--msa-metafile"):
        scan(tmp_path / "rates")
    assert scan([tmp_path / "rates", tmp_path / "aux"]).metafiles == (path,)
    assert scan(tmp_path / "rates", Choice(metafile=path)).metafiles == (path,)
    with pytest.raises(InputError, match="no such file"):
        scan(tmp_path / "rates", Choice(metafile=tmp_path / "none.fits"))


def test_metafile_that_lacks_dither_points(tmp_path):
    write_survey(tmp_path, snake(3, 2))
    write_msa_metafile(tmp_path, [1, 2])
    (problem,) = scan(tmp_path).problems
    assert problem.file == METAFILE
    assert "no rows for points 3-6" in problem.message
    assert "msa3d_relabel" in problem.message


def test_metafile_of_another_visit(tmp_path):
    write_survey(tmp_path, snake(2, 2))
    write_msa_metafile(tmp_path, ALL, msa_id=9)
    with pytest.raises(InputError, match=r"\(MSAMETID\) 1 of the exposures, only 9"):
        scan(tmp_path)


def test_damaged_metafile(tmp_path):
    write_survey(tmp_path, snake(2, 2))
    (tmp_path / METAFILE).write_bytes(b"SIMPLE")
    with pytest.raises(InputError, match="no whole MSA metafile"):
        scan(tmp_path)


def test_metafile_with_numbers_cut_to_16_bits(tmp_path):
    """100123 becomes 100 in some metafiles: then the catalogue tells the sources."""
    write_survey(tmp_path, snake(2, 1))
    path = write_msa_metafile(tmp_path, [1, 2])
    from astropy.io import fits

    with fits.open(path, mode="update") as file:
        numbers = file["SHUTTER_INFO"].data["source_id"]
        numbers[numbers == 100123] = 100
    assert [s.source_id for s in scan(tmp_path).sources] == [7, 100123]
