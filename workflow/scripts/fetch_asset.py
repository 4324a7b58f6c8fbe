"""One file of the catalogue or of the configuration's own assets, checked by digest; feeds Table 2."""

from pathlib import Path

from rule_job import run

from art_rl.assets.fetch import LOCK_NAME, Asset, fetch_asset, find_asset


def main(snakemake):
    name, own = snakemake.params.asset, snakemake.params.own
    if own is None:
        asset = find_asset(name)
    else:
        asset = Asset(
            name,
            own["group"],
            own["file"],
            tuple(own["urls"]),
            sha256=own.get("sha256"),
            size=own.get("size"),
        )
    path = Path(snakemake.output[0])
    fetch_asset(
        asset, path, mirror=snakemake.config.get("mirror"), lock=path.parent.parent / LOCK_NAME
    )


run(main, snakemake)  # noqa: F821
