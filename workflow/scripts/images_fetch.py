"""The files of MNIST, from the mirror first; feeds training, LeNet features and Table 4."""

from pathlib import Path

from rule_job import run

from art_rl.assets.fetch import catalogue, fetch


def main(snakemake):
    names = {asset.file: name for name, asset in catalogue().items() if asset.group == "mnist"}
    for path in snakemake.output:
        fetch(names[Path(path).name], path, mirror=snakemake.params.mirror)


run(main, snakemake)  # noqa: F821
