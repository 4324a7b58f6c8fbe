"""ART / ART-RL: learned timestep schedules for diffusion sampling.

Noise levels sigma are in the units of the data (EDM convention, images in [-1, 1]); the sampler runs
from sigma_max down to exactly 0 along the probability-flow ODE dx/dsigma = (x - D(x; sigma)) / sigma.
Reverse time psi = sigma_max - sigma (2601.18681, section 2; paper's T = sigma_max).
"""

__version__ = "0.1.0"
