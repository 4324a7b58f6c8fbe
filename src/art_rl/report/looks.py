"""How each method is drawn, everywhere: colour (Okabe and Ito's for our own), line style and marker."""

from typing import Any

# id: (colour, line style, marker)
LOOKS: dict[str, tuple[str, Any, str]] = {
    "uniform": ("#a0a0a0", ":", "o"),
    "dpm": ("#7a7a7a", "--", "s"),
    "edm": ("#000000", "-.", "^"),
    "dpm_no_sigma_min": ("#7a7a7a", ":", "s"),
    "edm_no_sigma_min": ("#000000", ":", "^"),
    "arctan": ("#b8a000", "--", "<"),
    "cosine": ("#b8a000", ":", ">"),
    "gaussian": ("#cc79a7", "-", "D"),
    "quadrature": ("#56b4e9", "-", "v"),
    "quadrature_steps": ("#56b4e9", "-.", "d"),
    "quadrature_order": ("#56b4e9", "--", "v"),
    "propagated": ("#0072b2", "-", "P"),
    "endpoint": ("#009e73", "-", "X"),
    "gits": ("#6a3d9a", "-", "1"),
    "dmn": ("#6a3d9a", "--", "2"),
    "score_optimal": ("#6a3d9a", ":", "3"),
    "entropic": ("#b15928", "-", "4"),
    "elbo": ("#b15928", ":", "+"),
    "ays": ("#b15928", "--", "x"),
    "oss": ("#6a3d9a", "-.", "|"),
    "ld3": ("#e31a1c", "-", "8"),
    "gauss_newton": ("#762a83", "--", "X"),
    "art_rl": ("#e69f00", "--", "D"),
    "art_rl_paper": ("#8c510a", "--", "p"),
    "art_rl_feedback": ("#e69f00", "-", "h"),
    "art_rl_endpoint": ("#d55e00", "-", "*"),
    "transfer_budget": ("#d55e00", "--", "o"),
    "transfer_data": ("#d55e00", ":", "s"),
}
