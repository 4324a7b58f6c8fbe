"""Execute a notebook written as a percent script; the declared output holds the cells' outputs."""

import os

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from rule_job import run

from art_rl.errors import ArtRLError
from art_rl.files import write_text


def main(snakemake):
    paths = snakemake.params.paths
    figures = paths.get("figures", "paper_figures")
    os.environ["ART_RL_SOURCE"] = os.path.abspath(os.path.join(snakemake.params.root, "src"))
    os.environ["ART_RL_RESULTS"] = os.path.abspath(paths.get("results", "results"))
    os.environ["ART_RL_FIGURES"] = os.path.abspath(os.path.join(figures, snakemake.params.name))
    notebook = jupytext.read(snakemake.input.source)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    try:
        NotebookClient(notebook, timeout=300, record_timing=False).execute()
    except CellExecutionError as error:
        raise ArtRLError(
            f"{snakemake.input.source}: a cell failed: {error.ename}: {error.evalue}"
        ) from error
    write_text(snakemake.output[0], nbformat.writes(notebook) + "\n")


run(main, snakemake)  # noqa: F821
