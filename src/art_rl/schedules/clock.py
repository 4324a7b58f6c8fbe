"""Reading a clock sigma(t), known at equidistant times, at any number of steps K; numpy only.

A clock learned once (mode "fine") serves every budget: the schedule of K steps is the clock at K + 1
equidistant times (2607.02137, distillation).
"""

import numpy as np
import scipy

from art_rl.errors import ArtRLError


def read_clock(levels: np.ndarray, K: int) -> np.ndarray:
    """The clock through n + 1 equidistant ``levels`` read at K + 1 equidistant times.

    Monotone cubic (PCHIP) interpolation of log(sigma + a), a = the level near the clock's end, so
    that the last steps, where sigma is linear in t, are followed as well; exact at the ends, and at
    every node when K divides n.

    Args:
        levels: (n + 1,) decreasing, last 0.
        K: steps, >= 1.

    Returns:
        (K + 1,) float64, ends exact.

    Raises:
        ArtRLError: a clock of one step, {sigma_max, 0}, read at another K: nothing was learned about speed.
    """
    steps = len(levels) - 1
    if steps == K:
        return levels.copy()
    if steps < 2:
        raise ArtRLError(
            f"a clock of 1 step cannot be read at K = {K}: its only levels are sigma_max and 0; learn one of "
            "2 steps or more"
        )
    offset = levels[max(steps - max(steps // 16, 2), 1)]
    log_levels = np.log(levels + offset)
    curve = scipy.interpolate.PchipInterpolator(np.arange(steps + 1) / steps, log_levels)
    result = np.exp(curve(np.arange(K + 1) / K)) - offset
    result[0], result[-1] = levels[0], 0.0
    return result
