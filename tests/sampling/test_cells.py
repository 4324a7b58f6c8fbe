"""Cells: NFE counted, noise paired, RMSE and W2 against exact answers, shards merged, faults."""

import itertools
import math

import numpy as np
import pytest
import torch

from art_rl.denoisers.exact import Gaussian, GaussianMixture
from art_rl.errors import ArtRLError
from art_rl.metrics.features import Features
from art_rl.metrics.frechet import Moments, frechet_between
from art_rl.sampling.cells import (
    CellPart,
    cell_file,
    cell_row,
    check_schedule,
    measure_seeds,
    merge_parts,
    reference_error,
    reference_shard,
    values_of,
)
from art_rl.sampling.experiment import Experiment, build_experiment
from art_rl.sampling.measures import (
    EndpointRMSE,
    Endpoints,
    ExactW2,
    FeatureMoments,
    Files,
    load_shard,
)
from art_rl.sampling.shards import shard_seeds, split_seeds
from art_rl.schedules.hand_made import baseline_schedule
from art_rl.schedules.schedule import Schedule
from art_rl.settings.sampling import CellSampling

STD, TOP, SAMPLES = 0.5, 10.0, 400
TOY = {
    "kind": "exact",
    "target": {"kind": "gaussian", "std": STD},
    "sigma_min": 0.002,
    "sigma_max": TOP,
    "start": "noise",
}
SAMPLING = {"samples": SAMPLES, "shard": SAMPLES, "batch": SAMPLES, "seed": 7, "seed_blocks": 2}


def blocks_of(experiment):
    return [shard_seeds(SAMPLES, SAMPLES, block, 0) for block in range(2)]


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    """An exact experiment with the reference endpoints of two blocks, and its measures."""
    experiment = build_experiment("toy", TOY, sampling=CellSampling(**SAMPLING))
    path = tmp_path_factory.mktemp("reference") / "all.npz"
    parts = [
        reference_shard(experiment, seeds, 64, experiment.measures(Files())[1:], SAMPLES)
        for seeds in blocks_of(experiment)
    ]
    seeds = np.concatenate([part.seeds for part, _ in parts])
    np.savez(path, seeds=seeds, images=np.concatenate([ends for _, ends in parts]))
    measures = experiment.measures(Files(reference=[path]))
    return experiment, measures, [values_of(part, measures[1:]) for part, _ in parts]


def rows_of(exact, schedule, solver):
    experiment, measures, _ = exact
    rows = []
    for block, seeds in enumerate(blocks_of(experiment)):
        part = measure_seeds(experiment, schedule, solver, seeds, measures, SAMPLES)
        values = values_of(part, measures)
        where = {"model": "toy", "solver": solver, "block": block}
        rows.append(cell_row(schedule, values, **where, samples=len(part.seeds), nfe=part.nfe))
    return rows


def test_reference_is_the_exact_flow(exact):
    experiment, *_ = exact
    for seeds in blocks_of(experiment):
        start, labels = experiment.start(seeds)
        assert labels is None
        exact_end = experiment.denoiser.flow(start, TOP, 0.0)
        _, ends = reference_shard(experiment, seeds, 64, [], SAMPLES)
        # 1e-5 is the share of the reference's last Euler step from sigma_min = 0.002.
        assert ends.dtype == np.float64 and np.abs(ends - exact_end.numpy()).max() < 5e-5
    assert 0 < reference_error(experiment, blocks_of(experiment)[0], 64) < 1e-4


def test_a_block_is_drawn_as_a_whole(exact):
    experiment, *_ = exact
    first, second = (experiment.start(seeds)[0] for seeds in blocks_of(experiment))
    assert torch.equal(first, experiment.draw(SAMPLES, 7))
    assert torch.equal(second, experiment.draw(SAMPLES, 8))
    assert torch.equal(experiment.start(range(410, 420))[0], second[10:20])
    with pytest.raises(ArtRLError, match="seeds 390 to 409 span more than one block of 400"):
        experiment.start(range(390, 410))


def test_rmse_of_gaussian_data_is_known(exact):
    """Euler on Gaussian data multiplies x by a number, so the error is known from the noise alone."""
    experiment = exact[0]
    schedule = baseline_schedule("gaussian", 4, TOP, 0.002, STD)
    factor = 1.0
    for high, low in itertools.pairwise(schedule.sigmas):
        factor *= 1 + (low - high) * high / (STD**2 + high**2)
    flow = STD / math.sqrt(STD**2 + TOP**2)
    for row, seeds in zip(rows_of(exact, schedule, "euler"), blocks_of(experiment), strict=True):
        start, _ = experiment.start(seeds)
        expected = abs(factor - flow) * float(start.square().mean().sqrt())
        assert math.isclose(row["rmse"], expected, rel_tol=1e-3)
        assert row["nfe"] == 4 and row["K"] == 4 and row["method"] == "gaussian"
        assert list(row)[:7] == ["model", "method", "solver", "K", "nfe", "block", "samples"]


@pytest.mark.parametrize(
    ("solver", "calls"),
    [("euler", 5), ("heun", 9), ("rk4", 17), ("ipndm4", 5), ("dpmpp3m", 5), ("unipc3", 5)],
)
def test_nfe_is_counted(exact, solver, calls):
    rows = rows_of(exact, baseline_schedule("edm", 5, TOP, 0.002, STD), solver)
    assert [row["nfe"] for row in rows] == [calls, calls]
    assert [row["block"] for row in rows] == [0, 1]


def test_w2_approaches_its_floors(exact):
    _experiment, measures, reference = exact
    rows = rows_of(exact, baseline_schedule("gaussian", 400, TOP, 0.002, STD), "rk4")
    # With no discretisation error left the sample is the reference's.
    expected = [values["w2"] for values in reference]
    np.testing.assert_allclose([row["w2"] for row in rows], expected, rtol=1e-2)
    floor = measures[1].floor(SAMPLES, 10_007)
    assert 0 < floor < 0.2 * STD
    coarse = rows_of(exact, baseline_schedule("uniform", 2, TOP, 0.002, STD), "euler")
    assert all(row["w2"] > 3 * floor for row in coarse)


def test_not_converged_is_carried_along(exact):
    facts = {"method": "art_rl_paper", "details": {"converged": False}}
    rows = rows_of(exact, Schedule((TOP, 1.0, 0.0), facts), "euler")
    assert not any(row["converged"] for row in rows)


def test_foreign_schedules_are_refused(exact):
    experiment = exact[0]
    with pytest.raises(ArtRLError, match=r"edm, K = 2: the schedule starts at sigma = 80"):
        check_schedule(Schedule((80.0, 1.0, 0.0), {"method": "edm"}), experiment)
    other = Schedule((TOP, 1.0, 0.0), {"method": "edm", "model_digest": "0" * 64})
    with pytest.raises(ArtRLError, match="made for model 000000000000"):
        check_schedule(other, experiment)
    check_schedule(other.with_provenance(method="transfer_data"), experiment)
    with pytest.raises(ArtRLError, match="unknown solver 'rk5'"):
        rows_of(exact, Schedule((TOP, 1.0, 0.0), {"method": "edm"}), "rk5")


def test_a_schedule_typed_by_hand_is_a_row(exact):
    rows = rows_of(exact, Schedule((TOP, 1.0, 0.0)), "euler")
    assert [(row["method"], row["K"], row["converged"]) for row in rows] == [
        ("by hand", 2, True)
    ] * 2
    told = Schedule((TOP, 1.0, 0.0), {"details": ["no", "object"]})
    assert rows_of(exact, told, "euler")[0]["converged"] is True
    with pytest.raises(ArtRLError, match=r"by hand, K = 2: the schedule starts at sigma = 5\.0"):
        check_schedule(Schedule((5.0, 1.0, 0.0)), exact[0])


# Images: every seed has noise of its own, shards are merged.


def extract(images):
    flat = images.flatten(1).float() / 255
    return torch.cat([flat, flat**2], 1)


FEATURES = Features("test", 8, "0" * 64, extract, torch.device("cpu"))
TRAIN = Moments.of(np.random.default_rng(0).random((50, 8)))
CLIPPED = Schedule((80.0, 1.0, 0.0), {"method": "edm"})
FINER = Schedule((80.0, 2.0, 0.3, 0.0), {"method": "edm"})


@pytest.fixture
def images(tmp_path):
    """An experiment on images, and its measures with the reference endpoints of seeds 0 to 11."""
    experiment = Experiment(
        "m", GaussianMixture([1.0], [[0.0] * 4], [STD], shape=(1, 2, 2)), 0.002, 80.0, "noise"
    )
    _, ends = reference_shard(experiment, range(12), 64, [], 5)
    assert ends.dtype == np.float32
    np.savez(tmp_path / "r.npz", seeds=np.arange(12), images=ends)

    def measures():
        distance = FeatureMoments(FEATURES, lambda m: frechet_between(m, TRAIN), "test")
        return [EndpointRMSE([tmp_path / "r.npz"]), distance]

    return experiment, measures


def part_of(images, seeds, schedule=FINER, **options):
    experiment, measures = images
    return measure_seeds(experiment, schedule, "euler", seeds, measures(), 5, **options)


def test_cells_do_not_depend_on_the_shards(images, tmp_path):
    measures = images[1]()
    whole = values_of(merge_parts([part_of(images, range(12))], measures), measures)
    parts = []
    for index, seeds in enumerate(split_seeds(0, 12, 7)):
        part_of(images, seeds, preview=3).save(tmp_path / f"{index}.npz")
        parts.append(CellPart.load(tmp_path / f"{index}.npz"))
    merged = merge_parts(parts[::-1], measures)  # any order of files
    again = values_of(merged, measures)
    assert merged.seeds.tolist() == list(range(12)) and merged.nfe == 3
    assert merged.preview.shape == (6, 1, 2, 2)
    assert again["rmse"] == whole["rmse"]
    assert again["fid"] == pytest.approx(whole["fid"], rel=1e-9)


def test_rmse_of_images_is_the_exact_error(images):
    experiment, measures = images
    for schedule in (CLIPPED, FINER):
        factor = 1.0
        for a, b in itertools.pairwise(schedule.sigmas):
            factor *= 1 + (b - a) * a / (a**2 + STD**2)
        flow = STD / np.sqrt(STD**2 + 80.0**2)
        x, _ = experiment.start(range(12))
        expected = abs(factor - flow) * float(x.square().mean().sqrt())
        got = values_of(part_of(images, range(12), schedule), measures())["rmse"]
        assert got == pytest.approx(expected, rel=2e-3)


def test_a_cell_is_named_by_what_it_depends_on(images, tmp_path):
    experiment, measures = images
    other = [measures()[0], FeatureMoments(None, lambda m: 0.0, "test")]

    def name(schedule=FINER, solver="euler", seeds=range(6), own=None, key=("a",)):
        return cell_file(tmp_path, experiment, schedule, solver, seeds, own or measures(), key).name

    assert name() == name()
    changed = [
        name(schedule=CLIPPED),
        name(solver="heun"),
        name(seeds=range(7)),
        name(own=other),
        name(key=("b",)),
    ]
    assert len({name(), *changed}) == 6


def test_merging_refuses_what_does_not_fit(images):
    measures = images[1]()
    one = part_of(images, range(4))
    with pytest.raises(ArtRLError, match="a seed occurs twice"):
        merge_parts([one, one], measures)
    with pytest.raises(ArtRLError, match="NFE"):
        merge_parts([one, part_of(images, range(4, 8), CLIPPED)], measures)
    with pytest.raises(ArtRLError, match="what was measured"):
        merge_parts([one], measures[:1])
    with pytest.raises(ArtRLError, match="no shards"):
        merge_parts([], measures)


def test_huge_errors_are_measured_but_clipped_for_features(images):
    wild = Schedule((80.0, 79.0, 78.0, 0.001, 0.0), {"method": "edm"})
    part = measure_seeds(images[0], wild, "heun", range(4), images[1](), 4)
    assert np.abs(part.measured["fid"]["total"]).max() <= 4.0


def test_damaged_files_are_named(tmp_path):
    np.savez(tmp_path / "other.npz", x=1)
    with pytest.raises(ArtRLError, match=r"other.npz: not the part of a cell"):
        CellPart.load(tmp_path / "other.npz")
    np.savez(tmp_path / "c.npz", seeds=np.arange(2), images=np.zeros((3, 1)))
    with pytest.raises(ArtRLError, match="as many images"):
        load_shard(tmp_path / "c.npz")
    np.savez(tmp_path / "bytes.npz", seeds=np.arange(2), images=np.zeros((2, 1), np.uint8))
    with pytest.raises(ArtRLError, match="must be floats, got uint8"):
        Endpoints([tmp_path / "bytes.npz"])([0])


def test_endpoints_without_a_reference_are_refused(images):
    with pytest.raises(ArtRLError, match="no reference endpoint for seed 12"):
        part_of(images, range(8, 14))


def test_a_feature_network_is_needed_to_sample():
    bare = FeatureMoments(None, lambda m: 0.0, "test")
    with pytest.raises(ArtRLError, match="needs the weights of the feature network"):
        bare.update([0], torch.zeros(1, 1, 2, 2))


def test_shards_cover_each_block_once():
    seeds = [list(shard_seeds(10, 4, block, shard)) for block in range(2) for shard in range(3)]
    assert [seed for part in seeds for seed in part] == list(range(20))
    assert [len(part) for part in seeds] == [4, 4, 2] * 2
    with pytest.raises(ArtRLError, match=r"shard must be in 0..2, got 3"):
        shard_seeds(10, 4, 0, 3)


def test_w2_merges_to_the_whole_block():
    measure = ExactW2(Gaussian(STD))
    x = STD * torch.randn(60, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    measure.update(range(60), x)
    whole = measure.collect()
    for part in (x[:25], x[25:]):
        measure.update(range(len(part)), part)
    assert measure.value(measure.merge([measure.collect()])) == measure.value(whole)
