"""Taking a schedule into other samplers: conversions of levels, and diffusers schedulers set and read back.

`convert` is Schedule.to, `apply` is Schedule.apply.  diffusers and azula are touched only through the
objects handed in; importing this package needs numpy alone.
"""

from art_rl.schedules.handover.convert import convert
from art_rl.schedules.handover.diffusers import apply

__all__ = ["apply", "convert"]
