"""OSS: steps that follow a teacher's trajectory best, by a search over its levels (2503.21774).

Levels are numbered upwards: 0 is the end (sigma = 0), N the start.  The teacher takes N Euler steps.
The student's state at every level is improved round by round; in each of K rounds, from every level i
(noisiest first) one Euler step is tried to every level j < i,

    y = z_i + (s_j - s_i) dx/dsigma(z_i, s_i),    cost = mean (y - teacher_j)^2,

and replaces the state at j if it lies closer to the teacher than all before.  Round 1 starts from the
initial state at any level.  Each level keeps one state, so the search is greedy, not an exact dynamic
programme.  The path is read off backwards from level 0.
"""

import numpy as np
import torch
from torch import Tensor

from art_rl.checks import check_budget
from art_rl.denoisers.base import Denoiser, drift
from art_rl.errors import ArtRLError
from art_rl.flow.trajectory import check_states
from art_rl.schedules.rivals.oss import distinct_path, median_path
from art_rl.schedules.schedule import Schedule


@torch.no_grad()
def euler_teacher(
    denoiser: Denoiser, x_start: Tensor, levels: np.ndarray, class_labels: Tensor | None = None
) -> Tensor:
    """States (N + 1, B, *shape) of N Euler steps, numbered like ``levels`` (N + 1,), ascending."""
    s = torch.as_tensor(levels, dtype=torch.float64, device=x_start.device)
    states = [x_start]
    for i in range(len(s) - 1, 0, -1):
        slope = drift(denoiser, states[-1], s[i], class_labels)
        states.append(states[-1] + (s[i - 1] - s[i]) * slope)
    return torch.stack(states[::-1])


@torch.no_grad()
def search_paths(
    denoiser: Denoiser,
    x_start: Tensor,
    levels: np.ndarray,
    K: int,
    class_labels: Tensor | None = None,
    teacher: Tensor | None = None,
) -> np.ndarray:
    """The path of every sample.

    Args:
        x_start: (B, *shape) states at levels[-1].
        levels: (N + 1,) ascending, all but the first > 0.
        K: steps of the student.
        teacher: of `euler_teacher`, to save its N B evaluations.

    Returns:
        (B, K) int64, ascending: the levels at which the steps start; the end, 0, is left out.

    Cost: K N B network evaluations beside the teacher's.

    Raises:
        ArtRLError: bad K, states or levels; a teacher that is not finite.
    """
    check_budget(K)
    levels = np.asarray(levels, dtype=np.float64)
    if levels.ndim != 1 or len(levels) < 2 or not (np.diff(levels) > 0).all() or levels[0] < 0:
        raise ArtRLError("levels must be at least 2 ascending numbers, the first >= 0")
    x_start = check_states(denoiser, x_start, class_labels)
    if teacher is None:
        teacher = euler_teacher(denoiser, x_start, levels, class_labels)
    if not torch.isfinite(teacher).all():
        raise ArtRLError("the teacher's trajectory is not finite")
    N, B = len(levels) - 1, len(x_start)
    s = torch.as_tensor(levels, device=x_start.device)
    best = torch.full((N + 1, B), float("inf"), dtype=torch.float64, device=x_start.device)
    came_from = torch.full((N + 1, B), N, dtype=torch.int64, device=x_start.device)
    now = x_start.expand(N + 1, *x_start.shape).clone()
    rounds = []
    for _ in range(K):
        following = now.clone()
        for i in range(N, 0, -1):
            slope = drift(denoiser, now[i], s[i], class_labels)
            step = (s[:i] - s[i]).reshape(-1, *[1] * x_start.ndim)
            tried = now[i] + step * slope
            cost = (tried - teacher[:i]).square().flatten(2).mean(2)
            closer = cost < best[:i]
            best[:i] = torch.where(closer, cost, best[:i])
            came_from[:i] = torch.where(closer, i, came_from[:i])
            mask = closer.reshape(*closer.shape, *[1] * (x_start.ndim - 1))
            following[:i] = torch.where(mask, tried, following[:i])
        rounds.append(came_from.clone())
        now = following
    at, path = torch.zeros(B, dtype=torch.int64, device=x_start.device), []
    for table in reversed(rounds):
        at = table.gather(0, at[None])[0]
        path.append(at)
    return torch.stack(path, 1).cpu().numpy()


def oss_schedules(
    denoiser: Denoiser,
    x_start: Tensor,
    levels: np.ndarray,
    budgets: list[int],
    class_labels: Tensor | None = None,
    model: str | None = None,
) -> dict[int, Schedule]:
    """OSS schedules of several K from one teacher.

    Args:
        x_start: (B, *shape) states at levels[0].
        levels: (N + 1,) the teacher's levels, decreasing, the last exactly 0.
        budgets: values of K, each at most N.

    Raises:
        ArtRLError: as `search_paths` and `distinct_path`.
    """
    ascending = np.asarray(levels, dtype=np.float64)[::-1].copy()
    N, B = len(ascending) - 1, len(x_start)
    x_start = check_states(denoiser, x_start, class_labels)
    teacher = euler_teacher(denoiser, x_start, ascending, class_labels)
    result = {}
    for K in budgets:
        medians = median_path(search_paths(denoiser, x_start, ascending, K, class_labels, teacher))
        path = distinct_path(medians, N)
        details = {
            "medians": medians,
            "path": path,
            "teacher_levels": N + 1,
            "trajectories": B,
            "evaluations": N * B + K * N * B,
        }
        result[K] = Schedule.found(
            ascending[[*path[::-1], 0]], "oss", details, model=model, model_digest=denoiser.digest
        )
    return result
