"""Timestep schedules and everything that gives one without a network; numpy only."""
