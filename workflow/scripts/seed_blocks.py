"""Starting noise and reference endpoints of one exact model; feeds every cell."""

from rule_job import run

from art_rl.files import write_json, write_npz
from art_rl.sampling.exact_cells import make_blocks
from art_rl.sampling.experiment import build_experiment


def main(snakemake):
    settings = dict(snakemake.params.evaluation)
    samples = snakemake.params.model.get("samples", settings.pop("samples"))
    settings.pop("samples", None)
    experiment = build_experiment(snakemake.wildcards.model, snakemake.params.model)
    blocks, facts = make_blocks(experiment, samples, **settings)
    arrays = {f"start_{b}": block.start.numpy() for b, block in enumerate(blocks)}
    arrays |= {f"end_{b}": block.end.numpy() for b, block in enumerate(blocks)}
    write_npz(snakemake.output.blocks, **arrays)
    write_json(snakemake.output.facts, facts)


run(main, snakemake)  # noqa: F821
