"""Official checkpoints: what is wrong with a file or a disk stops a run with one line, before it samples."""

from pathlib import Path

import numpy as np
import pytest
from paper_mirror import make_mirror
from running import faults, run_paper

RESULTS = Path("results/paper_smoke")


@pytest.fixture(scope="module")
def mirror(tmp_path_factory):
    """A folder with the self-made files."""
    return make_mirror(tmp_path_factory.mktemp("mirror"))


def test_wrong_digest_is_one_line_and_leaves_no_file(mirror, tmp_path):
    wrong = {"tiny-cond": {"group": "edm", "file": "tiny-cond.pkl", "sha256": "0" * 64}}
    target = RESULTS / "resources/edm/tiny-cond.pkl"
    (line,) = faults(run_paper(tmp_path, str(mirror), target, assets=wrong))
    assert line.startswith("art_rl: fetch_asset: asset tiny-cond: no source gave the right file")
    assert "expected " + "0" * 64 in line
    assert [path.name for path in target.parent.parent.rglob("tiny*")] == []


def test_too_small_a_disk_stops_the_run_before_it_starts(mirror, tmp_path):
    large = {"tiny-cond": {"group": "edm", "file": "tiny-cond.pkl", "size": 10**15}}
    (line,) = faults(
        run_paper(tmp_path, str(mirror), RESULTS / "resources/edm/tiny-cond.pkl", assets=large)
    )
    assert "GiB of disk space" in line
    assert not (tmp_path / "results").exists()


def test_bad_reference_stops_before_sampling(mirror, tmp_path):
    bad = tmp_path / "mirror"
    for path in mirror.glob("*/*"):
        (bad / path.parent.name).mkdir(parents=True, exist_ok=True)
        (bad / path.parent.name / path.name).symlink_to(path)
    reference = bad / "fid_refs/tiny.npz"
    reference.unlink()
    np.savez(reference, mu=np.zeros(64), sigma=np.eye(64))
    tables = {"table6": {"methods": ["edm"]}}
    (line,) = faults(run_paper(tmp_path, str(bad), RESULTS / "other/cells/heun.csv", tables=tables))
    assert "check_features" in line and "feature size 64" in line
    assert not (tmp_path / RESULTS / "other/shards").exists()
