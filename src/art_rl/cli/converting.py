"""`art-rl convert`."""

import argparse
import json
from typing import Any

import numpy as np

from art_rl.errors import ArtRLError
from art_rl.files import read_json, write_text
from art_rl.schedules.handover.conversions import check_below
from art_rl.schedules.handover.diffusers import scheduler_table
from art_rl.schedules.schedule import Schedule


def run_convert(given: argparse.Namespace) -> int:
    """Print or write the converted list as JSON."""
    schedule = Schedule.load(given.file)
    config = None if given.scheduler is None else read_json(given.scheduler)
    if config is not None and not isinstance(config, dict):
        raise ArtRLError(f"{given.scheduler}: a scheduler configuration is a JSON object")
    if given.to != "flow" and (given.shift is not None or given.mu is not None):
        raise ArtRLError(f"--shift and --mu belong to --to flow, not to --to {given.to}")
    text = json.dumps(_converted(schedule, given, config))
    if given.output:
        write_text(given.output, text + "\n")
        print(f"wrote {given.output}")
    else:
        print(text)
    return 0


def _converted(schedule: Schedule, given: argparse.Namespace, config: dict | None) -> Any:
    if given.to == "timesteps":
        if config is None:
            raise ArtRLError("--to timesteps needs --scheduler scheduler_config.json: whose table?")
        return schedule.to("timesteps", scheduler=config).tolist()
    if given.to == "flow":
        shift, mu = given.shift, given.mu
        if config is not None and shift is None and mu is None:
            if config.get("use_dynamic_shifting"):
                raise ArtRLError(f"{given.scheduler} shifts dynamically: say --mu")
            shift = float(config.get("shift", config.get("flow_shift", 1.0)))
        return schedule.to("flow", shift=1.0 if shift is None else shift, mu=mu).tolist()
    levels = schedule.to("sigmas")
    if config is not None and "beta_schedule" in config and not config.get("use_flow_sigmas"):
        check_below(levels, scheduler_table(config)[-1], f"the table of {given.scheduler}")
    if given.to == "azula":
        t = np.linspace(1, 0, schedule.K + 1)
        return {"t": t.tolist(), "alpha": [1.0] * len(t), "sigma": levels.tolist()}
    return levels.tolist()
