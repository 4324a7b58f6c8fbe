"""Settings of a clock learner's run; `art_rl.settings.learners` holds them."""

from art_rl.settings.learners import LearnerConfig

__all__ = ["LearnerConfig"]
