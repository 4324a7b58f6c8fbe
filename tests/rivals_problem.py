"""The exact mixtures behind the reference data of rival methods (ART_RL_TEST_DATA, goldens/rivals)."""

import json

import numpy as np
import torch

from art_rl.denoisers.exact import GaussianMixture


class RivalsProblem:
    """Models of dimension 1 and 16, their 64 starting points and the arrays of one file."""

    def __init__(self, folder):
        self.folder = folder
        self.facts = json.loads((folder / "problem.json").read_text())
        self.points = np.load(folder / "problem.npz", allow_pickle=False)

    def model(self, dim):
        target = self.facts[f"gmm{dim}"]
        means = target["means"] if dim > 1 else [[mean] for mean in target["means"]]
        return GaussianMixture(target["weights"], means, target["stds"])

    def start(self, dim):
        return torch.tensor(self.points[f"x0_{dim}"])

    def arrays(self, name):
        return np.load(self.folder / f"{name}.npz", allow_pickle=False)

    def json(self, name):
        return json.loads((self.folder / f"{name}.json").read_text())
