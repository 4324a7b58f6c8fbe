"""Safe reading of official EDM snapshot pickles; nothing stored in a file is ever executed."""

from art_rl.denoisers.snapshots.snapshot import convert_snapshot, read_snapshot

__all__ = ["convert_snapshot", "read_snapshot"]
