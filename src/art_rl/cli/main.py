"""`art-rl`: one command, three verbs.

Exit codes: 0 done; 1 bad input, one line on stderr; 2 wrong usage; 3 `learn` only: done, but at some budget
another list than the learned one is recommended (it is the one written as K<K>.json).
"""

import argparse
import sys
from collections.abc import Sequence

from art_rl import __version__
from art_rl.errors import ArtRLError

_MODEL = """\
MODEL is one of
  FOLDER               a diffusers folder with scheduler/ and unet/ (or transformer/)
  package.module:name  a denoiser, a k-diffusion or azula model, or a function without arguments
                       that returns one (see art_rl.wrap for anything else)
  gaussian:0.5         Gaussian data of that standard deviation; gaussian:0.5:64 in 64 dimensions
  network.safetensors  a network trained by this project, its .json beside it
"""


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="art-rl",
        description="Learn when a diffusion sampler spends its steps; look at schedules; convert them.",
        epilog="Exit codes: 0 done, 1 bad input, 2 wrong usage, 3 a list other than the learned one is "
        "recommended. Documentation: docs/ of the repository.",
    )
    top.add_argument("--version", action="version", version=f"art-rl {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="learn | show | convert")
    _learn(verbs)
    _show(verbs)
    _convert(verbs)
    return top


def _learn(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "learn",
        help="learn a schedule per budget for a model, and compare it with the library's default",
        description="Learn one schedule per budget. Ends with a comparison on held-out noise: yours, the "
        "library's own lists, a closed form, and the gaussian list.",
        epilog=_MODEL
        + "\nexample:\n  art-rl learn my_pipeline/ --budgets 5 10 --solver euler -o schedules/",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("model", metavar="MODEL", help="see below")
    verb.add_argument(
        "--budgets", type=int, nargs="+", required=True, metavar="K", help="numbers of steps"
    )
    verb.add_argument("--solver", default="euler", help="euler (default), heun, dpmpp2m, ...")
    verb.add_argument(
        "--coordinates", choices=("sigma", "flow"), default="sigma",
        help="flow: the solver steps in flow time t (default: sigma)",
    )  # fmt: skip
    verb.add_argument(
        "--method", default="art_rl_endpoint", help="id of the registry (default: %(default)s)"
    )
    verb.add_argument(
        "-o", "--output", default="schedules", metavar="DIR", help="default: %(default)s"
    )
    verb.add_argument("--minutes", type=float, help="time to spend (default: about 2.5)")
    verb.add_argument(
        "--evaluations", type=int, metavar="N",
        help="network evaluations to spend, instead of minutes: the same lists on every machine",
    )  # fmt: skip
    verb.add_argument("--sigma-max", type=float, help="first level (default: the model's own)")
    verb.add_argument("--sigma-min", type=float, help="lowest level of the fine solution")
    verb.add_argument(
        "--shape",
        type=int,
        nargs="+",
        metavar="N",
        help="shape of one sample, where MODEL has none",
    )
    verb.add_argument("--seed", type=int, default=0)
    verb.add_argument("-q", "--quiet", action="store_true", help="no progress bars")


def _show(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "show",
        help="levels, origin and verdict of schedule files; with a model, their errors",
        description="Print the levels, where they came from, and what was found about them.",
        epilog=_MODEL,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("files", nargs="+", metavar="K10.json")
    verb.add_argument("--model", help="also measure the lists against its library's own; see below")
    verb.add_argument(
        "--solver", help="for the errors (default: the one the first list was made for, or euler)"
    )
    verb.add_argument("--shape", type=int, nargs="+", metavar="N", help="as in learn")
    verb.add_argument(
        "--states", type=int, default=128, help="held-out noises (default: %(default)s)"
    )
    verb.add_argument("--seed", type=int, default=1, help="of the noise (default: %(default)s)")
    verb.add_argument("--plot", metavar="FILE", help="write a figure (.png, .pdf, .svg)")


def _convert(verbs: argparse._SubParsersAction) -> None:
    verb = verbs.add_parser(
        "convert",
        help="a schedule in another library's convention, as a JSON list",
        description="Print (or write) the levels as another library wants them; checked by reading back.",
        epilog="example:\n  art-rl convert K10.json --to flow --shift 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.add_argument("file", metavar="K10.json")
    verb.add_argument(
        "--to", required=True, choices=("sigmas", "timesteps", "flow", "azula"),
        help="sigmas: K + 1 levels; timesteps: K table positions; flow: K times without the 0; "
        "azula: t, alpha, sigma of K + 1 points",
    )  # fmt: skip
    verb.add_argument("--scheduler", metavar="scheduler_config.json", help="table, shift and range")
    verb.add_argument("--shift", type=float, help="static shift of a flow scheduler, undone")
    verb.add_argument("--mu", type=float, help="dynamic shift of a flow scheduler, undone")
    verb.add_argument("-o", "--output", metavar="FILE", help="default: standard output")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code."""
    given = parser().parse_args(arguments)
    try:
        if given.verb == "learn":
            from art_rl.cli.learning import run_learn as run
        elif given.verb == "show":
            from art_rl.cli.showing import run_show as run
        else:
            from art_rl.cli.converting import run_convert as run
        return run(given)
    except (ArtRLError, OSError) as error:
        print(f"art-rl {given.verb}: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"art-rl {given.verb}: stopped; nothing was written", file=sys.stderr)
        return 130
