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


def pytest_collection_modifyitems(items):
    """Whole workflow runs first: on several cores the long files must not be the last to start."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")
