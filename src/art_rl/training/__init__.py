"""Data sets, and the training of the small networks."""
