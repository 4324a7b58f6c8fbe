"""Shared fixtures.

ART_RL_TEST_DATA names a folder that holds `goldens/` (reference outputs of the official EDM code) and
`mirror/` (data files for offline use).  Neither is part of the repository: tests that need them skip,
and say so, when the variable is not set.
"""

import os
from pathlib import Path

import pytest
import torch


def pytest_configure(config):
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def test_data():
    """Function from a relative path ("goldens/edm") to the file or folder, or a skip that names it."""

    def find(relative: str) -> Path:
        root = os.environ.get("ART_RL_TEST_DATA")
        if not root:
            pytest.skip(f"needs {relative}: set ART_RL_TEST_DATA to the folder that holds it")
        path = Path(root) / relative
        if not path.exists():
            pytest.skip(f"needs {relative}, which is not in ART_RL_TEST_DATA={root}")
        return path

    return find


# Files with whole runs of the workflow, longest first: on several cores they must not be the last to start.
LONG = [
    "test_paper_workflow",
    "test_workflow",
    "test_digits_workflow",
    "test_mnist_workflow",
    "test_paper_faults",
    "test_own_tables",
]


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))
