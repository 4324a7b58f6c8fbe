"""How models are sampled."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from art_rl.errors import ArtRLError
from art_rl.settings.base import Closed, Count, Seed, Steps, Whole


class Sampling(Closed):
    """How images are sampled."""

    samples: Annotated[Whole, Field(ge=2)]
    """Images per cell and seed block."""
    seed_blocks: Count = 1
    """Seed blocks; block b uses the seeds b * samples to (b + 1) * samples - 1."""
    shard: Count = 1000
    """Images per job; does not change results."""
    batch: Count = 250
    """Images per network call."""
    reference_steps: Steps = 32
    """RK4 steps of the reference solution."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where networks are trained and images sampled."""

    @model_validator(mode="after")
    def _seeds_are_seeds(self) -> Self:
        if self.samples * self.seed_blocks > 2**63:
            raise ArtRLError(
                f"samples times seed_blocks must be at most 2^63, got {self.samples * self.seed_blocks}"
            )
        return self


class CheckpointSampling(Sampling):
    """How images are sampled from a checkpoint."""

    png: bool = False
    """Also write every image as a PNG file below <results>/<model>/png/."""


class CellSampling(CheckpointSampling):
    """How the cells of any model are sampled; `art_rl.experiments.targets.Targets.sampling`."""

    seed: Seed = 0
    """Of the first block, where blocks are drawn as a whole: exact models."""


class Speed(Closed):
    """How an edm network computes while it samples; art_rl.denoisers.edm.optimise."""

    written = "changed"

    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    """Number format of the U-Net's trunk."""
    channels_last: bool = False
    """Memory layout NHWC."""
    fused_attention: bool = False
    """PyTorch's fused attention kernel."""
    compile: bool = False
    """torch.compile."""
    cuda_graphs: bool = False
    """Replay recorded CUDA graphs."""
