"""`art_rl.schedule`: a schedule that needs no model, by its name."""

from art_rl.errors import ArtRLError
from art_rl.registry import METHODS
from art_rl.schedules.hand_made import BASELINES, baseline_schedule
from art_rl.schedules.schedule import Schedule


def schedule(
    method: str,
    K: int,
    sigma_max: float = 80.0,
    sigma_min: float = 0.002,
    sigma_data: float = 0.5,
    **options: float,
) -> Schedule:
    """A schedule of K steps that needs no model.

        schedule("edm", K=10)                 # Karras et al. 2022, eq. 5
        schedule("gaussian", K=10, sigma_data=0.5)

    Args:
        method: "uniform", "dpm", "edm", "dpm_no_sigma_min", "edm_no_sigma_min", "arctan", "cosine" or
            "gaussian".
        K: steps, >= 1; K + 1 levels, the last exactly 0.
        sigma_max, sigma_min: range, 0 < sigma_min < sigma_max, in units of the data.
        sigma_data: standard deviation of the data per coordinate (used by arctan and gaussian).
        options: further arguments of the method, e.g. rho=7 of edm.

    Raises:
        ArtRLError: unknown method or option, bad K or range; a method that needs a model.
    """
    if method in METHODS and method not in BASELINES:
        raise ArtRLError(
            f"method {method!r} needs a model: art_rl.learn(D, budgets=[{K}], method={method!r})"
        )
    try:
        return baseline_schedule(method, K, sigma_max, sigma_min, sigma_data, **options)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise ArtRLError(f"schedule({method!r}): {str(error).split('() ')[-1]}") from None
