"""Schedule: rules, exact JSON round trip, refusal of every damaged file, resampling."""

import json
import math

import numpy as np
import pytest

from art_rl.checks import check_budget
from art_rl.errors import ArtRLError
from art_rl.schedules.schedule import Schedule, check_sigma_range, validate_sigmas


def random_levels(seed):
    """Levels over 600 orders of magnitude, with neighbours one ulp apart now and then."""
    rng = np.random.default_rng(seed)
    levels = 10.0 ** rng.uniform(-300, 300, rng.integers(1, 40))
    levels = np.concatenate([levels, np.nextafter(levels[:3], np.inf), [5e-324]])
    return (*np.unique(levels)[::-1].tolist(), 0.0)


@pytest.mark.parametrize("seed", range(30))
def test_json_round_trip_is_exact_to_the_last_bit(tmp_path, seed):
    schedule = Schedule(random_levels(seed), {"method": "edm", "seed": seed, "details": {"a": 0.1}})
    schedule.save(tmp_path / "s.json")
    back = Schedule.load(tmp_path / "s.json")
    assert [x.hex() for x in back.sigmas] == [x.hex() for x in schedule.sigmas]
    assert dict(back.provenance) == dict(schedule.provenance)
    assert back.K == len(schedule.sigmas) - 1 and back.sigma_max == schedule.sigmas[0]


def test_schedule_is_immutable():
    source = {"method": "edm"}
    schedule = Schedule((2.0, 1.0, 0.0), source)
    with pytest.raises(AttributeError):
        schedule.sigmas = (1.0, 0.0)
    with pytest.raises(TypeError):
        schedule.provenance["method"] = "dpm"
    source["method"] = "dpm"
    schedule.numpy()[0] = 9.0
    assert schedule.provenance["method"] == "edm" and schedule.sigmas[0] == 2.0


@pytest.mark.parametrize(
    "sigmas, message",
    [
        ((2.0, 2.0, 0.0), r"sigmas\[1\] = 2.0 is not below sigmas\[0\] = 2.0"),
        ((2.0, 1.0, 1.5, 0.0), r"sigmas\[2\] = 1.5 is not below sigmas\[1\] = 1.0"),
        ((2.0, math.nan, 0.0), r"sigmas\[1\] must be finite, got nan"),
        ((math.inf, 1.0, 0.0), r"sigmas\[0\] must be finite, got inf"),
        ((2.0, 1.0, 0.002), r"sigmas\[2\] \(the last level\) must be exactly 0, got 0.002"),
        ((2.0, -1.0, 0.0), r"sigmas\[2\] = 0.0 is not below sigmas\[1\] = -1.0"),
        ((0.0,), r"at least 2 noise levels, got shape \(1,\)"),
        (((2.0, 0.0),), "flat list"),
        ("abc", "must be a list of numbers"),
        ((10**400, 0), "must be a list of numbers"),
        (("80", 0), "must be a list of numbers"),
        ((True, 0), "must be a list of numbers"),
        ((2.0, False), "must be a list of numbers"),
        ((2.0, None, 0), "must be finite, got nan"),
        ((1j, 0), "must be a list of numbers"),
    ],
)
def test_bad_levels_are_named(sigmas, message):
    with pytest.raises(ArtRLError, match=message):
        Schedule(sigmas)


def test_validate_names_the_argument():
    with pytest.raises(ArtRLError, match=r"levels\[1\]"):
        validate_sigmas([1.0, 2.0, 0.0], "levels")


def test_unknown_provenance_key():
    with pytest.raises(ArtRLError, match="unknown key 'metod'"):
        Schedule((1.0, 0.0), {"metod": "edm"})


def damaged(change):
    value = {
        "format": "art_rl.schedule",
        "version": 1,
        "sigmas": [3.0, 1.0, 0.0],
        "provenance": {"method": "edm"},
    }
    change(value)
    return json.dumps(value)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: v.update(sigma=[1]), "unknown field 'sigma'"),
        (lambda v: v.pop("provenance"), "missing field 'provenance'"),
        (lambda v: v.pop("sigmas"), "missing field 'sigmas'"),
        (lambda v: v.update(version=2), "format/version"),
        (lambda v: v.update(format="x"), "format/version"),
        (lambda v: v.update(sigmas=[3.0, True, 0.0]), r"sigmas\[1\] must be a number, got True"),
        (lambda v: v.update(sigmas=[3.0, "1", 0.0]), r"sigmas\[1\] must be a number, got '1'"),
        (lambda v: v.update(sigmas=[3.0, None, 0.0]), r"sigmas\[1\] must be a number, got None"),
        (lambda v: v.update(sigmas=[3.0, 4.0, 0.0]), r"sigmas\[1\] = 4.0 is not below"),
        (lambda v: v.update(sigmas=[3.0, 1.0]), r"sigmas\[1\].*exactly 0, got 1.0"),
        (lambda v: v.update(sigmas=[3.0, math.nan, 0.0]), "NaN is not JSON"),
        (lambda v: v.update(sigmas=[10**400, 0]), "must be a list of numbers"),
        (lambda v: v.update(sigmas=3.0), "sigmas must be a list, got 3.0"),
        (lambda v: v.update(provenance=[]), "provenance must be an object"),
        (lambda v: v["provenance"].update(author="x"), "unknown key 'author'"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path, change, message):
    path = tmp_path / "bad.json"
    path.write_text(damaged(change))
    with pytest.raises(ArtRLError, match=message) as caught:
        Schedule.load(path)
    assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value)


def test_truncated_files_are_refused(tmp_path):
    path = tmp_path / "s.json"
    Schedule(random_levels(1)).save(path)
    whole = path.read_text().rstrip()
    for keep in range(0, len(whole), max(1, len(whole) // 50)):
        path.write_text(whole[:keep])
        with pytest.raises(ArtRLError, match=r"s\.json: not a JSON file"):
            Schedule.load(path)
    path.write_text("[]")
    with pytest.raises(ArtRLError, match="JSON object, got list"):
        Schedule.load(path)


def test_infinite_literal_in_file(tmp_path):
    path = tmp_path / "s.json"
    path.write_text(damaged(lambda v: None).replace("3.0", "1e999"))
    with pytest.raises(ArtRLError, match=r"sigmas\[0\] must be finite, got inf"):
        Schedule.load(path)


def test_resample_to_the_same_budget_changes_nothing():
    schedule = Schedule(random_levels(2))
    assert schedule.resample(schedule.K) is schedule


@pytest.mark.parametrize("K", [2, 5, 18])
@pytest.mark.parametrize("factor", [2, 3, 7])
def test_refining_keeps_every_old_level(K, factor):
    rng = np.random.default_rng(K)
    old = np.append(np.sort(rng.uniform(0.01, 80, K))[::-1], 0.0)
    new = Schedule(tuple(old)).resample(K * factor)
    assert new.K == K * factor and new.sigmas[0] == old[0] and new.sigmas[-1] == 0.0
    np.testing.assert_allclose(new.numpy()[::factor], old, rtol=1e-12)
    # and going back gives the old grid
    np.testing.assert_allclose(new.resample(K).numpy(), old, rtol=1e-12)


def test_resampling_is_geometric_between_levels_and_linear_on_the_last_interval():
    new = Schedule((8.0, 2.0, 0.0)).resample(4)
    np.testing.assert_allclose(new.numpy(), [8.0, 4.0, 2.0, 1.0, 0.0], rtol=1e-15)


def test_any_budget_can_be_reached():
    schedule = Schedule((80.0, 3.0, 0.4, 0.002, 0.0), {"method": "edm", "budget": 4})
    for K in range(1, 60):
        new = schedule.resample(K)  # its own checks hold for every K
        assert new.K == K and new.sigma_max == 80.0
        assert dict(new.provenance) == {"method": "edm", "budget": 4}


@pytest.mark.parametrize("K", [0, -1, 2.5, True, "3", None, math.nan])
def test_bad_budgets(K):
    with pytest.raises(ArtRLError, match=r"K \(number of steps\).*at least 1, got"):
        check_budget(K)
    with pytest.raises(ArtRLError, match="number of steps"):
        Schedule((1.0, 0.0)).resample(K)


def test_budget_of_numpy_type():
    assert check_budget(np.int64(3)) == 3


@pytest.mark.parametrize("low, high", [(1, 1), (2, 1), (-0.1, 1), (0, math.inf), (math.nan, 1)])
def test_bad_ranges(low, high):
    with pytest.raises(ArtRLError, match="0 <= sigma_min < sigma_max"):
        check_sigma_range(low, high)


def test_a_changed_digit_is_noticed_and_a_file_typed_by_hand_is_not_suspected(tmp_path):
    path = tmp_path / "s.json"
    schedule = Schedule((80.0, 2.5, 0.0), {"method": "edm", "details": {"rho": 7.0}})
    schedule.save(path)
    whole = path.read_text()
    for old, new in (("2.5", "2.6"), ("80.0", "81.0"), ('"edm"', '"emd"'), ("7.0", "6.0")):
        path.write_text(whole.replace(old, new, 1))
        with pytest.raises(
            ArtRLError, match=r"s\.json: its content does not fit its content_sha256"
        ):
            Schedule.load(path)
    path.write_text(
        '{"format": "art_rl.schedule", "version": 1, "sigmas": [80, 2.5, 0], "provenance": {}}'
    )
    assert Schedule.load(path) == schedule


@pytest.mark.parametrize(
    "fields, key",
    [
        ('"sigmas": [9, 1, 0], "provenance": {}', "sigmas"),
        ('"provenance": {"budget": 2, "budget": 3}', "budget"),
    ],
)
def test_a_key_given_twice_is_refused(tmp_path, fields, key):
    head = '"format": "art_rl.schedule", "version": 1, "sigmas": [80, 2.5, 0]'
    (tmp_path / "s.json").write_text("{" + head + ", " + fields + "}")
    with pytest.raises(ArtRLError, match=rf"s\.json: .* the key '{key}' is given 2 times$"):
        Schedule.load(tmp_path / "s.json")


def test_numpy_values_in_a_provenance(tmp_path):
    facts = {"budget": np.int64(2), "details": {"ratio": np.float32(0.5), "grid": np.arange(2)}}
    schedule = Schedule((80.0, 2.5, 0.0), facts)
    schedule.save(tmp_path / "s.json")
    expected = {"budget": 2, "details": {"ratio": 0.5, "grid": [0, 1]}}
    assert dict(Schedule.load(tmp_path / "s.json").provenance) == expected
    assert dict(schedule.provenance) == expected
    with pytest.raises(ArtRLError, match=r"provenance\.details\.f must be JSON-like .*, got set"):
        Schedule((80.0, 0.0), {"details": {"f": {1}}})
