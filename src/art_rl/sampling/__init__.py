"""Experiments and their cells: starting noise by seed, shards, samples, measured errors."""
