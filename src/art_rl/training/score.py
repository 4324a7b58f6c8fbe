"""Denoising score matching for the small networks: EDM loss, moving average, exact resume.

The loss is in art_rl.training.loss.  The returned weights are an exponential moving average of the trained
ones.

All random numbers of iteration i come from a generator seeded with (seed, i) alone, so a killed and
resumed run needs no generator state and on a CPU equals the uninterrupted one to the last bit.
"""

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from art_rl.denoisers.checks import check_images, check_labels, check_one_hot
from art_rl.denoisers.tensors import read_tensors, write_tensors
from art_rl.denoisers.unet import UNetDenoiser, load_model, parameter_count
from art_rl.errors import ArtRLError
from art_rl.files import digest, read_json
from art_rl.settings.networks import TrainSettings, UNetConfig
from art_rl.training.loss import edm_loss, loss_by_sigma, stratified_sigmas

__all__ = ["TrainSettings", "loss_by_sigma", "shipped_network", "train"]

STATE = "art_rl.training.state"

# Data normalised in another way overshoots [-1, 1]; pixels in 0..255 are far above this.
LARGEST = 8.0


def _learning_rate(settings: TrainSettings, iteration: int) -> float:
    rise = min(1.0, (iteration + 1) / max(settings.warmup, 1))
    length = settings.decay_iterations or settings.iterations
    fall = 0.5 * (1 + math.cos(math.pi * iteration / length))
    return settings.learning_rate * rise * fall


def _ema_decay(settings: TrainSettings, iteration: int) -> float:
    return 0.5 ** (1 / min(settings.ema_halflife, max(0.1 * (iteration + 1), 1e-8)))


class _Trainer:
    """Everything that changes during training: weights, their average, Adam's moments, losses."""

    def __init__(
        self, data_sigma: float, config: UNetConfig, settings: TrainSettings, device: str
    ) -> None:
        self.settings, self.device, self.iteration = settings, torch.device(device), 0
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.model = UNetDenoiser(config, data_sigma)
            self.average = UNetDenoiser(config, data_sigma)
        self.average.load_state_dict(self.model.state_dict())
        layout = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.networks = nn.ModuleDict({"model": self.model, "average": self.average})
        # torch's stubs know ``memory_format`` without a device only.
        self.networks.to(self.device, memory_format=layout)  # type: ignore[call-overload]
        self.average.requires_grad_(False)
        self.parameters = list(self.model.parameters())
        self.optimizer = torch.optim.Adam(self.parameters, lr=settings.learning_rate, fused=True)
        self.losses: list[float | Tensor] = []  # tensors until `flush`

    def step(self, images: Tensor, labels: Tensor | None) -> None:
        """One iteration on a batch drawn from ``images`` (N, C, H, W) on the training device."""
        settings = self.settings
        generator = torch.Generator(self.device)
        generator.manual_seed((settings.seed * 1_000_003 + self.iteration) % (1 << 32))
        pick = torch.randint(
            len(images), (settings.batch_size,), generator=generator, device=self.device
        )
        sigma = stratified_sigmas(
            settings.batch_size, settings.P_mean, settings.P_std, generator, self.device
        )
        batch = images[pick]
        noise = torch.randn(batch.shape, generator=generator, device=self.device)
        with torch.autocast(
            self.device.type, torch.bfloat16, enabled=settings.precision == "bfloat16"
        ):
            own = None if labels is None else labels[pick]
            losses = edm_loss(self.model, batch, sigma, noise, self.model.sigma_data, own)
            loss = losses.mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = _learning_rate(settings, self.iteration)
        self.optimizer.step()
        with torch.no_grad():
            decay = _ema_decay(settings, self.iteration)
            average: list[Tensor] = list(self.average.parameters())
            current: list[Tensor] = list(self.parameters)
            torch._foreach_lerp_(average, current, 1 - decay)
        self.losses.append(loss.detach())
        self.iteration += 1

    def tensors(self) -> dict[str, Tensor]:
        """All state as named tensors."""
        tensors: dict[str, Tensor] = dict(self.networks.state_dict())
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
        return {name: value.detach().cpu().contiguous() for name, value in tensors.items()}

    def restore(self, tensors: dict[str, Tensor], losses: list[float]) -> None:
        """The inverse of ``tensors``; ``losses`` of every iteration so far."""
        own = {name: value for name, value in tensors.items() if not name.startswith("adam.")}
        self.networks.load_state_dict(own)
        state = self.optimizer.state_dict()
        for name, value in tensors.items():
            if name.startswith("adam."):
                _, index, key = name.split(".")
                state["state"].setdefault(int(index), {})[key] = value
        self.optimizer.load_state_dict(state)
        self.iteration, self.losses = len(losses), list(losses)

    def flush(self) -> list[float]:
        """Losses as numbers (they stay on the device until somebody asks)."""
        losses = [float(value) for value in self.losses]
        self.losses = [*losses]
        return losses


def _save_state(path: Path, trainer: _Trainer, run_digest: str) -> None:
    head = {"format": STATE, "run": run_digest, "losses": trainer.flush()}
    write_tensors(path, trainer.tensors(), head)


def _resume(path: Path, trainer: _Trainer, run_digest: str) -> None:
    """Restore the saved state of the same run; a state of other settings is ignored."""
    if not path.exists():
        return
    try:
        tensors, head = read_tensors(path, STATE)
    except ArtRLError as error:
        raise ArtRLError(f"{error}; delete the folder to start anew") from None
    if head["run"] == run_digest:
        trainer.restore(tensors, head["losses"])


def train(
    images: Tensor,
    config: UNetConfig,
    settings: TrainSettings,
    sigma_data: float,
    class_labels: Tensor | None = None,
    state_dir: str | os.PathLike | None = None,
    device: str = "cpu",
    progress: bool = True,
    stop_after: int | None = None,
) -> tuple[UNetDenoiser, dict]:
    """Train a denoiser.

    Args:
        images: float (N, C, H, W) in [-1, 1].
        config: size of the network; its shape must be the images'.
        sigma_data: standard deviation of the data.
        class_labels: one-hot (N, label_dim) for a conditional network.
        state_dir: folder for the resumable state; None keeps no state.
        stop_after: stop (as if killed) after this many iterations of this call; for tests.

    Returns:
        (averaged model in evaluation mode, record with "loss" per iteration, "settings", "parameters",
        "final_loss" = mean of the last tenth).

    Raises:
        ArtRLError: images or labels of another shape, dtype or range, labels missing or superfluous, or
            the loss is not finite.
    """
    check_images(images, LARGEST)
    if tuple(images.shape[1:]) != config.shape:
        raise ArtRLError(f"images must be (N, {config.shape}), got {tuple(images.shape)}")
    check_labels(class_labels, len(images), config.label_dim)
    if class_labels is not None:
        check_one_hot(class_labels)
    run_digest = digest(
        {
            "config": config.to_dict(),
            "settings": settings.to_dict(),
            "sigma_data": sigma_data,
            "images": [len(images), float(images.double().sum()), float((images**2).sum())],
            "classes": None if class_labels is None else class_labels.argmax(1).tolist(),
        }
    )
    trainer = _Trainer(sigma_data, config, settings, device)
    state = None if state_dir is None else Path(state_dir) / "state.safetensors"
    if state is not None:
        _resume(state, trainer, run_digest)
    layout = torch.channels_last if settings.channels_last else torch.contiguous_format
    images = images.to(trainer.device).contiguous(memory_format=layout)
    labels = None if class_labels is None else class_labels.to(trainer.device)
    started = trainer.iteration
    bar = tqdm(total=settings.iterations, initial=started, desc="training", disable=not progress)
    with bar:
        while trainer.iteration < settings.iterations:
            if stop_after is not None and trainer.iteration - started >= stop_after:
                break
            trainer.step(images, labels)
            bar.update()
            done = trainer.iteration
            due = state is not None and done % settings.checkpoint_every == 0
            if due or done % 100 == 0 or done == settings.iterations:
                recent = float(torch.as_tensor(trainer.losses[-1]))
                bar.set_postfix(loss=f"{recent:.4f}")
                if not math.isfinite(recent):
                    raise ArtRLError(
                        f"the loss is not finite at iteration {done}: lower learning_rate "
                        f"(now {settings.learning_rate})"
                    )
            if state is not None and due:
                _save_state(state, trainer, run_digest)
    if state is not None and trainer.iteration == settings.iterations:
        _save_state(state, trainer, run_digest)
    losses = trainer.flush()
    trainer.average.trained_noise = (settings.P_mean, settings.P_std)
    record = {
        "settings": settings.to_dict(),
        "parameters": parameter_count(trainer.model),
        "iterations_done": trainer.iteration,
        "loss": losses,
        "final_loss": float(np.mean(losses[-max(len(losses) // 10, 1) :])),
    }
    return trainer.average.eval(), record


def shipped_network(
    path: str | os.PathLike, config: UNetConfig, settings: TrainSettings, data: str, device: str
) -> tuple[UNetDenoiser, dict]:
    """A network that was trained before, if it is the one that training with these settings would give.

    Args:
        path: its .safetensors, as `art_rl.denoisers.unet.save_model` wrote it, the record beside it.
        config, settings: what the network must have, and must have been trained with.
        data: name of the data set it must have been trained on.

    Returns:
        (model in evaluation mode, record as `train` gives it).

    Raises:
        ArtRLError: a file is missing or damaged, or the record names another network, training or data.
    """
    model = load_model(path, device)
    record = read_json(Path(path).with_suffix(".json")).get("training", {})
    if missing := {"settings", "data", "iterations_done", "loss"} - record.keys():
        raise ArtRLError(
            f"{path}: its JSON does not say how it was trained ({', '.join(sorted(missing))} missing); "
            "leave `trained` out to train one"
        )
    # How often the state was saved does not change a weight.
    ours, theirs = (
        {**values, "checkpoint_every": None} for values in (settings.to_dict(), record["settings"])
    )
    pairs = [("network", config.to_dict(), model.config.to_dict()), ("data", data, record["data"])]
    pairs += [(f"training.{key}", value, theirs.get(key)) for key, value in ours.items()]
    for key, asked, has in pairs:
        if asked != has:
            raise ArtRLError(
                f"{path}: the network that ships has {key} {has}, the configuration asks for {asked}; "
                "leave `trained` out to train one"
            )
    if record["iterations_done"] != settings.iterations:
        raise ArtRLError(
            f"{path}: the network that ships was trained for {record['iterations_done']} of "
            f"{settings.iterations} iterations; leave `trained` out to train one"
        )
    return model, record
