"""Schedules of other methods, from their published definitions: the rows ART-RL is compared with."""
