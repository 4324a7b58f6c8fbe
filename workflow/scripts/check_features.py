"""Is an FID reference of Inception's feature size?  Asked before sampling, which takes hours (Table 2)."""

from rule_job import run

from art_rl.errors import ArtRLError
from art_rl.files import sha256_file, write_json
from art_rl.metrics.frechet import INCEPTION_SIZE, load_reference


def main(snakemake):
    path = snakemake.input.reference
    mu, _ = load_reference(path)
    if len(mu) != INCEPTION_SIZE:
        raise ArtRLError(
            f"{path}: the reference has feature size {len(mu)}, Inception's features have "
            f"{INCEPTION_SIZE}"
        )
    write_json(snakemake.output.facts, {"feature_size": len(mu), "sha256": sha256_file(path)})


run(main, snakemake)  # noqa: F821
