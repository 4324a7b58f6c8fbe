"""The command `art-rl`: learn, show and convert schedules."""

from art_rl.cli.main import main

__all__ = ["main"]
