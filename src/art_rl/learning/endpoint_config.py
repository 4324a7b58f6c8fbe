"""Settings of an endpoint learner's run; `art_rl.settings.learners` holds them."""

from art_rl.settings.learners import STARTS, EndpointConfig

__all__ = ["STARTS", "EndpointConfig"]
