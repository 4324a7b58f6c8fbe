"""Models: targets known exactly, networks trained here, official EDM checkpoints; one class per kind."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, Tag, model_validator

from art_rl.errors import ArtRLError
from art_rl.registry import SOLVERS
from art_rl.settings.base import (
    LIST,
    UNIQUE,
    Closed,
    Count,
    Name,
    NotNegative,
    OneOf,
    Positive,
    Seed,
    Steps,
    Whole,
    by_kind,
    over,
)
from art_rl.settings.measuring import Control, Endpoint, Profile
from art_rl.settings.networks import DATA, LeNetSettings, NetworkSettings, TrainSettings, UNetConfig
from art_rl.settings.rivals import LD3Settings, RivalSettings
from art_rl.settings.sampling import CheckpointSampling, Sampling, Speed

SolverId = Annotated[str, OneOf(SOLVERS)]


# What is measured on a model before schedules are made: its own values go over the common ones.
ProfileOver: Any = over(Profile)
EndpointOver: Any = over(Endpoint)
ControlOver: Any = over(Control)
RivalsOver: Any = over(RivalSettings)
LD3Over: Any = over(LD3Settings)

# Targets of exact models.


class GaussianTarget(Closed):
    """Isotropic Gaussian data."""

    written = "changed"

    kind: Literal["gaussian"]
    """gaussian, isotropic."""
    std: Positive
    """Standard deviation per coordinate, data units."""
    dim: Count = 1
    """Dimension."""
    mean: float = 0.0
    """Mean of every coordinate."""


class MixtureTarget(Closed):
    """A mixture of isotropic Gaussians."""

    written = "changed"

    kind: Literal["mixture"]
    """mixture of isotropic Gaussians."""
    weights: Annotated[tuple[Positive, ...], LIST, Field(min_length=1)]
    """One weight per component, normalised when read."""
    means: Annotated[
        tuple[Annotated[tuple[float, ...], LIST, Field(min_length=1)], ...],
        LIST,
        Field(min_length=1),
    ]
    """One list of coordinates per component, all of the same length."""
    stds: Annotated[tuple[Positive, ...], LIST, Field(min_length=1)]
    """Standard deviation of each component in every coordinate."""

    @property
    def dim(self) -> int:
        """Dimension of the data."""
        return len(self.means[0])

    @model_validator(mode="after")
    def _components_agree(self) -> Self:
        for index, mean in enumerate(self.means):
            if len(mean) != self.dim:
                raise ArtRLError(
                    f"means.{index} must have {self.dim} coordinates like means.0, got {list(mean)}"
                )
        for key, values in (("means", self.means), ("stds", self.stds)):
            if len(values) != len(self.weights):
                raise ArtRLError(
                    f"{key} must have one entry per weight, {len(self.weights)}, got {len(values)}"
                )
        return self


class RandomMixtureTarget(Closed):
    """An equal-weight mixture with means drawn from N(0, spread^2 I)."""

    written = "changed"

    kind: Literal["random_mixture"]
    """equal-weight mixture with means drawn from N(0, spread^2 I)."""
    dim: Count
    """Dimension."""
    stds: Annotated[tuple[Positive, ...], LIST, Field(min_length=1)]
    """Standard deviation of each component in every coordinate; as many as components."""
    spread: NotNegative
    """Standard deviation of the components' means."""
    seed: Seed
    """Seed of the means."""


Target = Annotated[
    Annotated[GaussianTarget, Tag("kind=gaussian")]
    | Annotated[MixtureTarget, Tag("kind=mixture")]
    | Annotated[RandomMixtureTarget, Tag("kind=random_mixture")],
    by_kind(),
]


class _Model(Closed):
    sigma_min: Positive
    """Smallest noise level above 0 that EDM's and DPM's grids visit, data units."""
    sigma_max: Positive
    """First noise level, data units."""
    profile: ProfileOver = ProfileOver()
    """Values of this model over those of the common block profile."""
    endpoint: EndpointOver = EndpointOver()
    """Values of this model over those of the common block endpoint."""
    control: ControlOver = ControlOver()
    """Values of this model over those of the common block control."""
    rivals: RivalsOver = RivalsOver()
    """Values of this model over those of the common block rivals."""
    ld3: LD3Over = LD3Over()
    """Values of this model over those of the common block ld3."""
    learners: dict[Name, dict[str, Any]] | None = None
    """Settings of this model over those of the learners, by name of the learner."""

    @model_validator(mode="after")
    def _sigma_falls(self) -> Self:
        if not self.sigma_min < self.sigma_max:
            raise ArtRLError(
                f"sigma_min must be below sigma_max = {self.sigma_max}, got {self.sigma_min}"
            )
        return self


class ExactModel(_Model):
    """A model whose denoiser is known in closed form."""

    kind: Literal["exact"] = "exact"
    """exact: the denoiser is known in closed form.  image: a network trained here.  edm: an official EDM
    checkpoint, scored by FID on Inception features."""
    target: Target
    """Data distribution."""
    start: Literal["exact", "noise"]
    """exact: x = x_0 + sigma_max z, the true p_T.  noise: x = sigma_max z."""
    samples: Annotated[Whole, Field(ge=2)] | None = None
    """Samples per cell of this model, instead of evaluation.samples."""
    left_sum: bool = False
    """A figure of the papers' left-end sum as cost at three steps: why it cannot work (docs/art_rl.md)."""


class TrustAblation(Closed):
    """Closed forms with other treatments of |Q| outside the trained noise levels."""

    budgets: Annotated[tuple[Steps, ...], UNIQUE, Field(min_length=1)]
    """Numbers of steps K."""
    solvers: Annotated[tuple[SolverId, ...], UNIQUE, Field(min_length=1)]
    """Solvers."""


class ImageModel(_Model):
    """A network trained here."""

    kind: Literal["image"]
    """exact: the denoiser is known in closed form.  image: a network trained here.  edm: an official EDM
    checkpoint, scored by FID on Inception features."""
    data: Annotated[str, OneOf(DATA)]
    """Data set."""
    conditional: bool = False
    """Whether the network is trained on, and samples, the data's classes."""
    network: NetworkSettings
    """Size of the score network."""
    training: TrainSettings
    """How the score network is trained."""
    trained: Annotated[str, Field(pattern=r"\.safetensors$")] | None = None
    """A network that ships, already trained with these settings: its .safetensors file, from the repository's
    root; null: trained by the workflow."""
    features: LeNetSettings = LeNetSettings()
    """How the classifier of LeNet-FID is trained."""
    sampling: Sampling
    """Sampling of images."""
    trust_ablation: TrustAblation | None = None
    """Closed forms with other treatments of |Q| outside the trained noise levels."""

    @model_validator(mode="after")
    def _network_fits_the_data(self) -> Self:
        shape, _ = DATA[self.data]
        try:
            UNetConfig(shape=shape, **self.network.to_dict())
        except ArtRLError as error:
            raise ArtRLError(f"network does not fit {self.data}: {error}") from None
        return self


class EDMModel(_Model):
    """An official EDM checkpoint, scored by FID on Inception features."""

    kind: Literal["edm"]
    """exact: the denoiser is known in closed form.  image: a network trained here.  edm: an official EDM
    checkpoint, scored by FID on Inception features."""
    checkpoint: str
    """Asset of the snapshot, of src/art_rl/assets/catalogue.json or of assets."""
    reference: str
    """Asset with the reference statistics (mu, sigma) of the training set."""
    inception: str = "inception-v3"
    """Asset with torch-fidelity's Inception weights."""
    speed: Speed = Speed()
    """How the network computes while it samples."""
    sampling: CheckpointSampling
    """Sampling of images."""


Model = Annotated[
    Annotated[ExactModel, Tag("kind=exact")]
    | Annotated[ImageModel, Tag("kind=image")]
    | Annotated[EDMModel, Tag("kind=edm")],
    by_kind("exact"),
]
