"""Rivals whose schedules are made from one file of statistics, by the id of their method."""

from collections.abc import Callable

from art_rl.schedules.rivals.ays import ays_schedule
from art_rl.schedules.rivals.elbo import elbo_schedule
from art_rl.schedules.rivals.gits import gits_schedule
from art_rl.schedules.rivals.quantiles import entropic_schedule, score_optimal_schedule
from art_rl.schedules.schedule import Schedule

# id -> function of (`statistics.RivalStatistics`, K, model).
FROM_STATISTICS: dict[str, Callable[..., Schedule]] = {
    "gits": gits_schedule,
    "score_optimal": score_optimal_schedule,
    "entropic": entropic_schedule,
    "elbo": elbo_schedule,
    "ays": ays_schedule,
}
