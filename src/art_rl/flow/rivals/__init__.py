"""What rival schedules measure with a network: statistics of a model, searches along trajectories."""
