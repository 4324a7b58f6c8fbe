"""OSS: from paths found for single samples to one schedule (Optimal Stepsize, 2503.21774).

`art_rl.flow.rivals.oss` finds, for every sample, the indices of the teacher's levels at which a student
of K Euler steps starts a step.  The schedule visits their medians over samples.
"""

import numpy as np

from art_rl.errors import ArtRLError


def median_path(paths: np.ndarray) -> list[int]:
    """Medians over samples, as published: of an even number of samples the two middle ones, floored.

    Args:
        paths: (B, K) whole numbers, ascending along K; index n is the n-th level above the end.

    Returns:
        K indices, not descending.
    """
    paths = np.asarray(paths)
    if paths.ndim != 2 or len(paths) < 1 or not np.issubdtype(paths.dtype, np.integer):
        raise ArtRLError(f"paths must be whole numbers of shape (B, K), got {paths.shape}")
    ordered = np.sort(paths, axis=0)
    half = len(paths) // 2
    if len(paths) % 2:
        return [int(v) for v in ordered[half]]
    return [int(v) for v in (ordered[half] + ordered[half - 1]) // 2]


def distinct_path(path: list[int], N: int) -> list[int]:
    """K strictly ascending indices in 1..N, the last one N, each as close above ``path`` as they go.

    Published paths may start below the noisiest level or repeat an index; a step of length 0 would
    waste a network call.

    Raises:
        ArtRLError: more steps than levels.
    """
    K = len(path)
    if not 1 <= K <= N:
        raise ArtRLError(f"K (number of steps) must be between 1 and {N}, the levels, got {K}")
    n = np.arange(K)
    up = np.maximum.accumulate(np.maximum(path, 1) - n) + n
    up[-1] = N
    room = np.minimum(up - n, N - K + 1)
    result = np.minimum.accumulate(room[::-1])[::-1] + n
    result[-1] = N
    return [int(v) for v in result]
