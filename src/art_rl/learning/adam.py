"""Adam for the learner's small networks, by torch's functional form.

The same numbers as torch.optim.Adam, whose first use imports torch._dynamo: 1.5 s in every process,
a tenth of a whole run of one of these learners.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.adam import adam

_DEFAULTS: dict[str, Any] = {
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.0,
    "foreach": False,
    "amsgrad": False,
    "maximize": False,
}


class Adam:
    """Adam (Kingma & Ba 2015) with torch's defaults: betas (0.9, 0.999), eps 1e-8, no weight decay.

    Args:
        parameters: what is moved; their ``grad`` is read, a parameter without one stays.
    """

    def __init__(self, parameters: Iterable[Tensor]) -> None:
        self.parameters = list(parameters)
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = [torch.zeros(()) for _ in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One step of size ``rate``, > 0."""
        used = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        columns = (self.parameters, self.first, self.second, self.steps)
        parameters, first, second, steps = ([column[i] for i in used] for column in columns)
        gradients = [p.grad for p in parameters if p.grad is not None]
        adam(parameters, gradients, first, second, [], steps, lr=rate, **_DEFAULTS)

    def state(self) -> dict[str, Tensor]:
        """Moments and step counts, by "<index>.<name in torch.optim.Adam's state>"."""
        named = (("exp_avg", self.first), ("exp_avg_sq", self.second), ("step", self.steps))
        return {f"{i}.{name}": value for name, column in named for i, value in enumerate(column)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        indices = range(len(self.parameters))
        self.first = [state[f"{i}.exp_avg"].clone() for i in indices]
        self.second = [state[f"{i}.exp_avg_sq"].clone() for i in indices]
        self.steps = [state[f"{i}.step"].clone() for i in indices]
