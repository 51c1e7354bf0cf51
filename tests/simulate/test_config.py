"""What a survey is: defaults, files, refusals, the pattern, and sources that can be seen."""

import dataclasses

import numpy as np
import pytest

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.config import GRATINGS, Survey, read_survey
from msa3d_steps.simulate.scene.sources import LINE_TABLE, Galaxy, PointSource

G140H = [(0.98, 1.37), (1.42, 1.82)]
PLACES = [(150.1, 2.3, G140H), (150.2, 2.4, G140H), (150.3, 2.5, G140H)]


def write(tmp_path, text):
    path = tmp_path / "survey.toml"
    path.write_text(text)
    return path


def test_defaults_are_go_2136_in_miniature():
    survey = Survey()
    assert (survey.grating, survey.filter, survey.level) == ("G140H", "F100LP", "cal")
    assert (survey.n_sources, survey.steps, survey.dithers) == (3, 5, 3)
    assert survey.n_exposures == 15
    assert survey.step == pytest.approx(0.2)  # the slit's width
    assert 0.5 * survey.dithers * survey.dither < 0.4575  # within a shutter
    assert survey.noise
    assert not survey.cosmic_rays


@pytest.mark.parametrize("grating", GRATINGS)
def test_the_filter_follows_the_grating(grating):
    assert Survey(grating=grating.lower()).filter == GRATINGS[grating]


WRONG = [
    ("grating", "G999"), ("grating", 3), ("level", "raw"), ("n_sources", 0), ("n_sources", 41),
    ("n_sources", 2.5), ("steps", 0), ("steps", "many"), ("steps", 10**6), ("dithers", -1),
    ("dithers", True), ("step", 0.0), ("step", float("inf")), ("dither", -0.1),
    ("dither", float("nan")), ("jitter", -0.01), ("unknown_jitter", -0.01),
    ("unknown_step_jitter", -1), ("observation", 0), ("observation", 1000),
    ("shutters", 0), ("shutters", 8),
    ("ra", float("nan")), ("ra", "10:00:00"), ("dec", 89.5), ("dec", float("nan")),
    ("position_angle", float("nan")), ("exposure_time", 0.0), ("exposure_time", None),
    ("redshift", -0.1), ("zodiacal", -1.0), ("psf", "airy"), ("noise", "yes"), ("noise", 1),
    ("cosmic_rays", 0.5), ("flicker", -1.0), ("seed", -1), ("seed", 1.5), ("sources", 3),
    ("sources", ("a",)),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG, ids=lambda value: str(value))
def test_a_wrong_value_is_refused_by_name(name, value):
    with pytest.raises(InputError, match=rf"Survey: {name} (is|are) .*: (give|write) "):
        Survey(**{name: value})


def test_every_option_can_be_wrong():
    assert {name for name, _ in WRONG} == {f.name for f in dataclasses.fields(Survey)}


def test_too_many_exposures_are_refused():
    with pytest.raises(InputError, match="1000000 exposures: give fewer steps or dithers"):
        Survey(steps=1000, dithers=1000)


WRONG_SOURCES = [
    ({"kind": "quasar"}, "kind is 'quasar': give 'galaxy' or 'point'"),
    ({"colour": 3}, "has no colour; a galaxy has .*scale_length"),
    ({"kind": "point", "scale_length": 0.3}, "has no scale_length; a point has"),
    ({"lines": 3}, "has no lines"),
    ({"h_alpha": "bright"}, "h_alpha is 'bright': give a number"),
    ({"rotation": float("nan")}, "rotation is nan: give a number"),
    ({"inclination": 90.0}, "inclination is 90.0: give 0 to 89"),
    ({"scale_length": 0.0}, "scale_length is 0.0: give 0.001 to 10"),
    ({"bulge": 1.5}, "bulge is 1.5: give 0 to 1"),
    ({"source_id": 0}, "source_id is 0: give 1 to"),
    ({"source_id": 1.5}, "source_id: give a whole number"),
    ({"clumps": [[0.1, 0.2]]}, "clumps are lists"),
    ({"clumps": [[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]]}, "clumps are lists"),
    ({"clumps": "many"}, "clumps are lists"),
]


@pytest.mark.parametrize(("own", "message"), WRONG_SOURCES)
def test_a_wrong_source_is_refused_by_number_and_name(own, message):
    with pytest.raises(InputError, match=f"source 2:? ?{message}"):
        Survey(sources=({}, own))


def test_two_sources_with_the_same_number_are_refused():
    with pytest.raises(InputError, match="the same source_id"):
        Survey(sources=({"source_id": 2}, {}))


class TestFile:
    def test_options_and_sources(self, tmp_path):
        path = write(tmp_path, """
grating = "PRISM"
steps = 7
step = 1
noise = false

[[sources]]
h_alpha = 33.0
rotation = 123.0
redshift = 1.5
across = 0.1
along = 0.0
clumps = [[0.1, 0.2, 0.05], [0.0, 0.3, 0.1]]

[[sources]]
kind = "point"
continuum = 12.0
""")  # fmt: skip
        survey = read_survey(path)
        assert (survey.grating, survey.steps, survey.step, survey.noise) == ("PRISM", 7, 1.0, False)
        assert survey.n_sources == 2
        galaxy, point = survey.make_sources(PLACES[:2])
        assert isinstance(galaxy, Galaxy)
        assert (galaxy.rotation, galaxy.redshift) == (123.0, 1.5)
        assert galaxy.clumps == ((0.1, 0.2, 0.05), (0.0, 0.3, 0.1))
        assert {line.name: line.flux for line in galaxy.lines}["Halpha"] == 33.0
        # 0.1 arcsec across slits at 30 degrees: to the east and south
        east, north = galaxy.offsets(150.1, 2.3)
        np.testing.assert_allclose(
            [-east, -north], [0.1 * np.cos(np.pi / 6), -0.1 * np.sin(np.pi / 6)], atol=1e-6
        )
        assert isinstance(point, PointSource)
        assert point.continuum == 12.0

    def test_options_override_the_file(self, tmp_path):
        survey = read_survey(write(tmp_path, "steps = 7\ndithers = 2\n"), steps=4)
        assert (survey.steps, survey.dithers) == (4, 2)

    def test_whole_numbers_are_numbers(self, tmp_path):
        assert read_survey(write(tmp_path, "step = 1\n")).digest() == Survey(step=1.0).digest()

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("stepps = 3\n", "no such line: stepps. Known: .*steps"),
            ("steps = = 3\n", "not a survey file in TOML"),
            ("steps = 0\n", "Survey: steps is 0: give 1 to"),
            ('steps = "two"\n', "Survey: steps is 'two': give a whole number"),
            ("[sources]\nkind = 'point'\n", r"sources are tables: write \[\[sources\]\]"),
            ("[[sources]]\nkind = 'star'\n", "source 1: kind is 'star'"),
            ("[[sources]]\n[[sources]]\nsise = 3\n", "source 2 has no sise"),
        ],
    )
    def test_a_bad_file_is_named_with_what_is_wrong(self, text, message, tmp_path):
        with pytest.raises(InputError, match=rf"survey\.toml: .*{message}"):
            read_survey(write(tmp_path, text))

    def test_a_missing_or_binary_file(self, tmp_path):
        with pytest.raises(InputError, match=r"none\.toml: not a survey file"):
            read_survey(tmp_path / "none.toml")
        (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(InputError, match=r"bad\.toml: not a survey file"):
            read_survey(tmp_path / "bad.toml")
        with pytest.raises(InputError, match="not a survey file"):
            read_survey(tmp_path)


OTHER = {
    "grating": "G140M", "level": "both", "n_sources": 2, "steps": 4, "dithers": 2, "step": 0.21,
    "dither": 0.1, "jitter": 0.01, "unknown_jitter": 0.01,
    "unknown_step_jitter": 0.01, "observation": 2, "shutters": 3, "ra": 1.0, "dec": 1.0,
    "position_angle": 1.0,
    "exposure_time": 1.0, "redshift": 1.0, "zodiacal": 0.0, "psf": "moffat", "noise": False,
    "cosmic_rays": True, "flicker": 1.0, "seed": 2, "sources": ({"h_alpha": 1.0},),
}  # fmt: skip


def test_the_digest_changes_with_every_option():
    assert set(OTHER) == {f.name for f in dataclasses.fields(Survey)}
    digests = {Survey(**{name: value}).digest() for name, value in OTHER.items()}
    assert len(digests | {Survey().digest()}) == len(OTHER) + 1
    assert Survey().digest() == Survey(grating="g140h").digest()


class TestPattern:
    def test_is_a_snake(self):
        commanded, actual = Survey(steps=3, dithers=3, step=0.2, dither=0.1).offsets()
        across = [-0.2, 0.0, 0.2, 0.2, 0.0, -0.2, -0.2, 0.0, 0.2]
        along = [-0.1] * 3 + [0.0] * 3 + [0.1] * 3
        np.testing.assert_allclose(commanded, np.transpose([across, along]), atol=1e-15)
        np.testing.assert_array_equal(actual, commanded)

    @pytest.mark.parametrize(("steps", "dithers"), [(1, 1), (9, 7), (4, 2)])
    def test_is_centred_and_complete(self, steps, dithers):
        commanded, _ = Survey(steps=steps, dithers=dithers).offsets()
        assert commanded.shape == (steps * dithers, 2)
        np.testing.assert_allclose(commanded.mean(axis=0), 0, atol=1e-15)
        assert len({tuple(offset) for offset in commanded.round(9)}) == steps * dithers
        moves = np.abs(np.diff(commanded, axis=0))
        assert (moves > 1e-9).sum(axis=1).max(initial=1) == 1  # one move between exposures

    def test_jitter_has_its_rms_on_either_axis(self):
        commanded, actual = Survey(steps=60, dithers=60, jitter=0.02).offsets()
        error = actual - commanded
        # 3600 draws: rms to 1.2%, mean to 0.0003
        np.testing.assert_allclose(error.std(axis=0), 0.02, rtol=0.04)
        np.testing.assert_allclose(error.mean(axis=0), 0, atol=1.2e-3)
        assert abs(np.corrcoef(error.T)[0, 1]) < 0.06

    def test_unknown_jitter_has_its_rms_and_is_shared_by_a_step(self):
        survey = Survey(steps=60, dithers=60, unknown_jitter=0.03, unknown_step_jitter=0.02)
        commanded, actual = survey.offsets()
        np.testing.assert_array_equal(commanded, actual)  # nothing that a header tells
        error = survey.unknown_offsets()
        step = np.unique(commanded[:, 0].round(6), return_inverse=True)[1]
        shared = np.array([error[step == s].mean(axis=0) for s in range(60)])
        rest = error - shared[step]
        np.testing.assert_allclose(rest.std(axis=0), 0.03, rtol=0.04)
        assert 0.014 < shared[:, 0].std() < 0.028  # of 60 draws
        assert shared[:, 1].std() < 0.006

    def test_jitter_follows_the_seed(self):
        one, same, other = (Survey(jitter=0.02, seed=s).offsets()[1] for s in (5, 5, 6))
        np.testing.assert_array_equal(one, same)
        assert np.abs(one - other).min() > 0


class TestSources:
    @pytest.mark.parametrize("seed", [1, 2, 3])
    def test_lines_fall_on_the_detectors(self, seed):
        lines = ("Halpha", "[NII]6583", "[OIII]5007", "[OIII]4959", "Hbeta")
        for galaxy in Survey(seed=seed).make_sources(PLACES):
            observed = {line.name: galaxy.observed(line) for line in galaxy.lines}
            for name in lines:
                assert any(low < observed[name] < high for low, high in G140H)
        narrow = [(2.9, 3.1)]
        galaxy = Survey(n_sources=1, seed=seed).make_sources([(150.1, 2.3, narrow)])[0]
        assert 2.9 < 0.656461 * (1 + galaxy.redshift) < 3.1

    def test_a_redshift_that_is_given_is_kept(self):
        assert {g.redshift for g in Survey(redshift=1.7).make_sources(PLACES)} == {1.7}

    def test_are_reproducible_and_differ(self):
        one, same, other = (Survey(seed=s).make_sources(PLACES) for s in (1, 1, 2))
        assert one == same
        assert len({g.rotation for g in (*one, *other)}) == 6
        assert [g.source_id for g in one] == [1, 2, 3]
        # what is drawn for a source does not hang on how many there are
        assert Survey(n_sources=1).make_sources(PLACES[:1])[0] == one[0]

    def test_fit_into_the_field_and_the_slitlet(self):
        for seed in range(10):
            for galaxy, (ra, dec, _) in zip(
                Survey(seed=seed).make_sources(PLACES), PLACES, strict=True
            ):
                assert 0.25 <= galaxy.scale_length / 0.4 <= 0.95
                assert galaxy.scale_length < 0.15 * 5 * 0.2 + 1e-9
                assert np.hypot(*galaxy.offsets(ra, dec)) < 0.12
                assert len(galaxy.lines) == len(LINE_TABLE)

    def test_attributes_are_plain_numbers(self):
        for galaxy in Survey().make_sources(PLACES):
            for name, value in vars(galaxy).items():
                assert isinstance(value, int | float | tuple), name
                assert not isinstance(value, np.generic), name
