"""A model of another library behind the Denoiser protocol.

With x = x_0 + sigma noise and the model's answer o the denoised sample is

    epsilon        D = x - sigma o                (Ho et al. 2020)
    v              D = x / (1 + sigma^2) - sigma o / sqrt(1 + sigma^2)
                   (Salimans & Ho 2022: o = alpha noise - alpha sigma x_0, alpha = 1 / sqrt(1 + sigma^2))
    flow           D = (x - sigma o) / (1 + sigma)      (Lipman et al. 2022: o = noise - x_0)
    x0, denoised   D = o

whatever the scale and the time the model is called with (`times`).
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dis import get_instructions
from functools import cached_property
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from art_rl.errors import ArtRLError
from art_rl.schedules.handover.conversions import check_below

Formula = Callable[[Tensor, Tensor, Tensor], Tensor]

PREDICTIONS: dict[str, Formula] = {
    "epsilon": lambda x, sigma, o: x - sigma * o,
    "v": lambda x, sigma, o: x / (1 + sigma**2) - sigma * o / torch.sqrt(1 + sigma**2),
    "flow": lambda x, sigma, o: (x - sigma * o) / (1 + sigma),
    "x0": lambda x, sigma, o: o,
    "denoised": lambda x, sigma, o: o,
}


def edm_formula(sigma_data: float, sign: float) -> Formula:
    """D = c_skip x + sign c_out o (Karras et al. 2022, table 1)."""
    d = float(sigma_data)

    def formula(x: Tensor, sigma: Tensor, o: Tensor) -> Tensor:
        total = sigma**2 + d**2
        return d**2 / total * x + sign * sigma * d / torch.sqrt(total) * o

    return formula


class WrappedDenoiser:
    """D(x; sigma) of somebody else's model; made by `art_rl.wrap`.

    Attributes:
        shape: shape of one sample, or None until it is known (`learn` takes it from ``x``).
        sigma_data: standard deviation of the data per coordinate, or None: `learn` measures it.
        label_dim: 0; labels are among the fixed arguments.
        exact: False: a network, whatever its dtype.
        scheduler: the diffusers scheduler it came with, or None.
        library: "diffusers", "k-diffusion", "azula" or "callable".
        calls: network evaluations so far, one per state.

    Calling: x (B, *shape) of any float dtype, sigma () or (B,) > 0; returns (B, *shape) in the model's
    dtype, on x's device, without gradients.  A level above the range is an ArtRLError.
    """

    label_dim = 0
    exact = False

    def __init__(
        self,
        function: Callable[..., Any],
        formula: Formula,
        time: Any,
        *,
        shape: tuple[int, ...] | None,
        sigma_data: float | None,
        digest_of: Any,
        library: str,
        call: Callable[..., Any] | None = None,
        scheduler: Any = None,
        input_dtype: torch.dtype | None = None,
        fixed: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        unconditional: Mapping[str, Any] | None = None,
    ) -> None:
        self.function, self.formula, self.time = function, formula, time
        # None until they are known; `check_denoiser` refuses a denoiser whose shape is None.
        self.shape: Any = shape
        self.sigma_data: Any = sigma_data
        self.library, self.scheduler = library, scheduler
        self.fixed = dict(fixed or {})
        self.guidance, self.unconditional = guidance, unconditional
        self.call = call or (lambda f, x, t, **kwargs: f(x, t, **kwargs))
        self.dtype, self.device = _home(function)
        # azula computes sigma_t from t itself, which loses small levels to rounding in float32.
        self.input_dtype = input_dtype or self.dtype
        self.calls = 0
        self._digest_of = (digest_of, library, time.name, self.fixed, guidance, unconditional)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of parameters, conventions and fixed arguments."""
        # Made when first asked for: without parameters it calls the model, which may be broken.
        return _digest(self, self._digest_of)

    @property
    def sigma_max(self) -> float | None:
        """Highest level of the model's own range; None where it has none."""
        return None if self.time.range is None else self.time.range[1]

    @property
    def sigma_min(self) -> float | None:
        """Lowest level of the model's own range; None where it has none."""
        return None if self.time.range is None else self.time.range[0]

    @property
    def trained(self) -> tuple[float, float] | None:
        """(low, high) levels the model was trained on; None if unknown."""
        return self.time.trained

    def __call__(
        self, x: Tensor, sigma: Tensor | float, class_labels: Tensor | None = None
    ) -> Tensor:
        """D(x; sigma); see the class."""
        if class_labels is not None:
            raise ArtRLError(
                "a wrapped model takes its labels when it is wrapped: wrap(..., class_labels=...)"
            )
        levels = np.asarray(torch.as_tensor(sigma).detach().cpu(), dtype=np.float64).reshape(-1)
        if not (levels > 0).all():
            raise ArtRLError(
                f"sigma must be positive for a network, got {levels[~(levels > 0)][0]}"
            )
        if self.sigma_max is not None and len(levels):
            check_below(levels, self.sigma_max, f"the model's range ({self.time.name})")
        alpha, time = self.time(levels)
        column = (-1, *[1] * (x.ndim - 1))
        rows = len(x)
        scale = torch.as_tensor(alpha, dtype=x.dtype, device=x.device).reshape(column)
        inputs = (scale * x).to(device=self.device, dtype=self.input_dtype)
        times = torch.as_tensor(time, device=self.device, dtype=self.input_dtype)
        times = times.expand(rows) if len(times) == 1 else times
        with torch.no_grad():
            output = self._answer(inputs, times, self.fixed)
            if self.unconditional is not None and self.guidance is not None:
                without = self._answer(inputs, times, {**self.fixed, **self.unconditional})
                output = without + self.guidance * (output - without)
        if tuple(output.shape) != tuple(x.shape):
            raise ArtRLError(
                f"the model answers with shape {tuple(output.shape)} to an input of shape "
                f"{tuple(x.shape)}; the prediction must have the sample's shape"
            )
        level = torch.as_tensor(levels, dtype=x.dtype, device=x.device).reshape(column)
        denoised = self.formula(x, level, output.to(x))
        return denoised.to(self.dtype)

    def _answer(self, inputs: Tensor, times: Tensor, fixed: Mapping[str, Any]) -> Tensor:
        self.calls += len(inputs)
        kwargs = {name: _rows(value, len(inputs), self.device) for name, value in fixed.items()}
        answer = self.call(self.function, inputs, times, **kwargs)
        for name in ("sample", "mean"):  # diffusers' outputs, azula's posteriors
            if not isinstance(answer, Tensor) and isinstance(getattr(answer, name, None), Tensor):
                answer = getattr(answer, name)
        if isinstance(answer, tuple | list) and answer:
            answer = answer[0]
        if not isinstance(answer, Tensor):
            raise ArtRLError(f"the model must answer with a tensor, got {type(answer).__name__}")
        if not answer.dtype.is_floating_point:
            raise ArtRLError(f"the model must answer in a float dtype, got {answer.dtype}")
        return answer


def _rows(value: Any, rows: int, device: torch.device) -> Any:
    """A fixed tensor of one row, repeated for the batch; anything else as it is."""
    if not isinstance(value, Tensor):
        return value
    value = value.to(device)
    if value.ndim and len(value) == 1 and rows != 1:
        return value.expand(rows, *value.shape[1:])
    return value


def modules(function: Any) -> list[nn.Module]:
    """The networks behind a callable: itself, its object, partial arguments, closure or globals."""
    if isinstance(function, nn.Module):
        return [function]
    inner = [getattr(function, "__self__", None), getattr(function, "func", None)]
    inner += [cell.cell_contents for cell in getattr(function, "__closure__", None) or ()]
    inner += list(getattr(function, "args", ()) or ())
    if isinstance(function, FunctionType):  # in a notebook the network is a global name
        names = {i.argval for i in get_instructions(function) if i.opname == "LOAD_GLOBAL"}
        inner += [function.__globals__.get(name) for name in sorted(names)]
    return [part for part in inner if isinstance(part, nn.Module)]


def _home(function: Any) -> tuple[torch.dtype, torch.device]:
    """dtype and device of a callable's first floating parameter; float32 on the CPU without one."""
    for module in modules(function):
        for value in (*module.parameters(), *module.buffers()):
            if value.dtype.is_floating_point:
                return value.dtype, value.device
    return torch.float32, torch.device("cpu")


def _digest(denoiser: WrappedDenoiser, facts: Any) -> str:
    """SHA-256 of parameters and buffers (or, without any, of answers to a fixed input), and of ``facts``."""
    total = hashlib.sha256()

    def add(value: Any) -> None:
        if isinstance(value, Tensor):
            flat = value.detach().cpu().contiguous()
            total.update(f"{flat.dtype}{tuple(flat.shape)}".encode())
            total.update(flat.reshape(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, Mapping):
            for key in sorted(value, key=str):
                total.update(str(key).encode())
                add(value[key])
        elif isinstance(value, tuple | list):
            for part in value:
                add(part)
        else:
            total.update(repr(value).encode())

    add(facts)
    found = False
    for module in modules(denoiser.function):
        state = module.state_dict()
        found = found or bool(state)
        add(dict(state))
    if not found and denoiser.shape is not None:
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(2, *denoiser.shape, dtype=torch.float64, generator=generator)
        low, high = denoiser.time.range or (0.01, 10.0)
        calls = denoiser.calls
        for sigma in (low, math.sqrt(low * high), high):
            add(denoiser(x * sigma, torch.tensor(sigma)))
        denoiser.calls = calls
    return total.hexdigest()
