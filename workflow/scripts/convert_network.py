"""An official snapshot as safetensors and JSON, and a first look at the network; feeds Table 2."""

from pathlib import Path

from rule_job import run

from art_rl.denoisers.edm import load_network
from art_rl.denoisers.snapshots import convert_snapshot


def main(snakemake):
    weights, facts = snakemake.output.weights, snakemake.output.facts
    convert_snapshot(snakemake.input.snapshot, weights, facts)
    try:
        # Names and shapes are checked here, before hours of sampling.
        denoiser = load_network(weights, facts)
    except BaseException:  # no network that nobody can load stays behind, whatever went wrong
        Path(facts).unlink(missing_ok=True)
        Path(weights).unlink(missing_ok=True)
        raise
    print(f"{denoiser.digest[:12]}: shape {denoiser.shape}, {denoiser.label_dim} classes")


run(main, snakemake)  # noqa: F821
