"""Schedules for somebody's own model and own sampler: `learn` and what it returns."""

from art_rl.own_model.found import Found
from art_rl.own_model.learn import learn

__all__ = ["Found", "learn"]
