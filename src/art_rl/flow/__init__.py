"""The probability-flow ODE of a denoiser: solvers, trajectories, what is measured along them."""
