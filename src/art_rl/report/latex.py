"""Tables as LaTeX (booktabs)."""

from collections.abc import Sequence

from art_rl.registry import METHODS
from art_rl.report.tables import Row, Table, caption, cell_text, notes_of, number, plain_text


def _tex(text: str) -> str:
    for plain, tex in (
        ("sigma_min", r"$\sigma_{\min}$"),
        ("rho = 7", r"$\rho = 7$"),
        ("order p", r"order $p$"),
        ("_", r"\_"),
        ("%", r"\%"),
        ("±", r"$\pm$"),
        ("≈", r"$\approx$"),
        ("‡", r"$\ddagger$"),
        ("§", r"\S"),
    ):
        # Underscores inside the formulas just made stay as they are.
        if plain != "_" or "$" not in text:
            text = text.replace(plain, tex)
    return text


def to_latex(table: Table) -> str:
    r"""The table as a LaTeX tabular with booktabs rules (``\usepackage{booktabs}``)."""
    width = len(table.budgets)
    lines = [
        f"% {caption(table)}",
        rf"\begin{{tabular}}{{l{'r' * width}}}",
        r"\toprule",
        " & ".join(["Method", *(f"$K = {K}$" for K in table.budgets)]) + r" \\",
    ]
    group = None
    for name in table.methods:
        if METHODS[name].group != group:
            group = METHODS[name].group
            lines.append(r"\midrule")
        entries = [table.entries[name, K] for K in table.budgets]
        marks = (r"$^{\approx}$", r"$^{\ddagger}$", r"$^{\S}$")
        spread = r"\,{{\tiny$\pm${}}}"
        cells = [cell_text(entry, r"\textbf{{{}}}", spread, marks) for entry in entries]
        lines.append(" & ".join([_tex(METHODS[name].label), *cells]) + r" \\")
    if table.floors:
        lines.append(r"\midrule")
        for label, value in table.floors.items():
            cells = [number(value)] * width
            lines.append(" & ".join([rf"\emph{{{_tex(label)}}}", *cells]) + r" \\")
    if table.paper:
        paper = table.paper
        lines.append(r"\midrule")
        title = _tex(f"{paper['source']} ({paper['note']})")
        lines.append(rf"\multicolumn{{{width + 1}}}{{l}}{{\emph{{{title}}}}} \\")
        for label, values in paper["rows"].items():
            shown = dict(zip(paper["budgets"], values, strict=True))
            known = [shown.get(K) for K in table.budgets]
            cells = ["" if value is None else number(value) for value in known]
            lines.append(" & ".join([_tex(label), *cells]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    lines += [f"% {note}" for note in notes_of(table)]
    return "\n".join(lines) + "\n"


def plain_latex(rows: Sequence[Row], note: str) -> str:
    """Rows as a LaTeX tabular with booktabs rules."""
    columns = list(rows[0])
    lines = [f"% {note}", rf"\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule"]
    lines.append(" & ".join(_tex(column) for column in columns) + r" \\")
    lines.append(r"\midrule")
    for row in rows:
        lines.append(" & ".join(_tex(plain_text(row[column])) for column in columns) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"
