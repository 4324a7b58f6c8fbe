"""An official snapshot as safetensors and JSON, and a first look at the network; feeds Table 2."""

from rule_job import run

from art_rl.checkpoints import convert_snapshot
from art_rl.denoisers.edm import load_network


def main(snakemake):
    convert_snapshot(snakemake.input.snapshot, snakemake.output.weights, snakemake.output.facts)
    # Names and shapes are checked here, before hours of sampling.
    denoiser = load_network(snakemake.output.weights, snakemake.output.facts)
    print(f"{denoiser.digest[:12]}: shape {denoiser.shape}, {denoiser.label_dim} classes")


run(main, snakemake)  # noqa: F821
