"""What the constructor arguments of the official networks may be.

Arguments come from files: what no network can be made of is refused here, by name, and nothing may
ask for endless work or memory (the bounds are far above every real network).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from art_rl.errors import ArtRLError

DEFAULT_LEVELS = 4  # resolutions of either U-Net without channel_mult


class Rule(NamedTuple):
    """``text`` completes the sentence "<argument> of <class> must be ..."."""

    text: str
    holds: Callable[[Any], bool]


def is_integer(value: Any, low: int, high: int) -> bool:
    """An integer, not a boolean, in [low, high]."""
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def is_number(value: Any) -> bool:
    """A float that is not NaN, or an integer that fits a float."""
    if isinstance(value, float):
        return not math.isnan(value)
    return is_integer(value, -(1 << 63), 1 << 63)


def _integer(low: int, high: int) -> Rule:
    return Rule(f"an integer in [{low}, {high}]", lambda value: is_integer(value, low, high))


def _integers(fewest: int, most: int, low: int, high: int) -> Rule:
    return Rule(
        f"a list of {fewest} to {most} integers in [{low}, {high}]",
        lambda value: (
            isinstance(value, list | tuple)
            and fewest <= len(value) <= most
            and all(is_integer(item, low, high) for item in value)
        ),
    )


def _number(text: str, holds: Callable[[float], bool]) -> Rule:
    return Rule(f"a number {text}", lambda value: is_number(value) and holds(value))


def _is_filter(value: Any) -> bool:
    if not isinstance(value, list | tuple) or len(value) not in range(2, 17, 2):
        return False
    return all(is_number(tap) and abs(tap) <= 1e6 for tap in value) and abs(sum(value)) > 1e-6


_PROBABILITY = _number("in [0, 1]", lambda value: 0 <= value <= 1)
_SHARE = _number("in (0, 1)", lambda value: 0 < value < 1)
_POSITIVE = _number("in (0, 1e6]", lambda value: 0 < value <= 1e6)

RULES = {
    "img_resolution": _integer(1, 4096),
    "img_channels": _integer(1, 1024),
    "label_dim": _integer(0, 100_000),
    "use_fp16": Rule("true or false", lambda value: isinstance(value, bool)),
    "model_type": Rule("a name", lambda value: value is None or (isinstance(value, str) and value)),
    # The preconditionings.
    "sigma_min": _number("in [0, inf)", lambda value: 0 <= value < math.inf),
    "sigma_max": _number("in (0, inf]", lambda value: value > 0),
    "sigma_data": _POSITIVE,
    # VP's largest level is about exp(beta_d / 4): float32 ends at exp(88).
    "beta_d": _number("in (0, 100]", lambda value: 0 < value <= 100),
    "beta_min": _number("in [0, 30]", lambda value: 0 <= value <= 30),
    "epsilon_t": _SHARE,
    "C_1": _SHARE,
    "C_2": _number("in [0, 1e6]", lambda value: 0 <= value <= 1e6),
    "M": _integer(2, 100_000),
    # The U-Nets.
    "augment_dim": _integer(0, 1024),
    "model_channels": Rule(
        "an even integer in [4, 8192]", lambda value: is_integer(value, 4, 8192) and value % 2 == 0
    ),
    "channel_mult": _integers(1, 16, 1, 64),
    "channel_mult_emb": _integer(1, 64),
    "channel_mult_noise": _integer(1, 64),
    "num_blocks": _integer(0, 64),
    "attn_resolutions": _integers(0, 64, 1, 4096),
    "dropout": _PROBABILITY,
    "label_dropout": _PROBABILITY,
    "resample_filter": Rule("an even number (2 to 16) of numbers whose sum is not 0", _is_filter),
}


def check_arguments(class_name: str, kwargs: Mapping[str, Any]) -> None:
    """Refuse values that break a rule; names without one are left to the constructor.

    Raises:
        ArtRLError: names the argument, the rule and the value.
    """
    for name, value in kwargs.items():
        rule = RULES.get(name)
        if rule is not None and not rule.holds(value):
            raise ArtRLError(f"{name} of {class_name} must be {rule.text}, got {value!r:.80}")
    levels = len(kwargs.get("channel_mult", range(DEFAULT_LEVELS)))
    resolution, factor = kwargs.get("img_resolution", 0), 2 ** (levels - 1)
    if resolution % factor:
        raise ArtRLError(
            f"img_resolution of {class_name} must be a multiple of {factor} "
            f"(it has {levels} resolutions), got {resolution}"
        )
