"""What `learn` returns: schedules by budget, and the comparison that closes it."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from art_rl.files import write_json, write_text
from art_rl.schedules.schedule import Schedule


class Found(Mapping[int, Schedule]):
    """K -> Schedule, as learned, with the comparison on held-out noise.

    Attributes:
        report: JSON-like.  "budgets": {K: {"rows": [...], "recommended": name, "converged": bool,
            "verdict": text}}, each row with "name", "rmse" (data units), and, against yours, "ratio",
            "low", "high" (95 %, paired) and "yours" ("wins", "ties", "loses"); "reference_error", "solver",
            "method", "sigma_max", "sigma_min", "sigma_data", "model_digest", "evaluations", "seconds", ...
        lists: K -> name -> Schedule of every row, "yours" among them.

    ``str(found)`` is the table.
    """

    def __init__(
        self,
        schedules: Mapping[int, Schedule],
        report: Mapping[str, Any],
        lists: Mapping[int, Mapping[str, Schedule]],
    ) -> None:
        self._schedules = dict(sorted(schedules.items()))
        self.report, self.lists = dict(report), {K: dict(v) for K, v in lists.items()}

    def __getitem__(self, K: int) -> Schedule:
        if K not in self._schedules:
            known = ", ".join(map(str, self._schedules))
            raise KeyError(f"no schedule of {K} steps was asked for; there are K = {known}")
        return self._schedules[K]

    def __iter__(self) -> Iterator[int]:
        return iter(self._schedules)

    def __len__(self) -> int:
        return len(self._schedules)

    @property
    def recommended(self) -> dict[int, Schedule]:
        """K -> the list to use: the learned one, or the one that beat it or stood in for it."""
        return {K: self.lists[K][self.report["budgets"][str(K)]["recommended"]] for K in self}

    def save(self, folder: str | os.PathLike) -> list[Path]:
        """Write the recommended K<K>.json, report.json and report.txt into ``folder``; the paths.

        A learned list that is not recommended is written under a name that says so.
        """
        folder, written = Path(folder), []
        for K, best in self.recommended.items():
            written.append(folder / f"K{K}.json")
            best.save(written[-1])
            if best != self[K]:
                written.append(folder / f"K{K}_not_recommended.json")
                self[K].save(written[-1])
        written += [folder / "report.json", folder / "report.txt"]
        write_json(written[-2], self.report)
        write_text(written[-1], f"{self}\n")
        return written

    def __str__(self) -> str:
        r = self.report
        lines = [
            f"{r['method']} for {r['solver']}, sigma {r['sigma_max']:.6g} ... {r['sigma_min']:.6g}, "
            f"sigma_data {r['sigma_data']:.4g}; endpoint RMSE on {r['test_states']} held-out noises "
            f"(reference {r['reference_error']:.2g})"
        ]
        for K in self:
            budget = r["budgets"][str(K)]
            lines.append(f"\nK = {K}, {budget['calls']} calls")
            width = max(len(row["name"]) for row in budget["rows"])
            for row in budget["rows"]:
                rmse = "diverges" if row["rmse"] is None else f"{row['rmse']:.4g}"
                if row.get("at_floor"):
                    rmse = f"< {row['rmse']:.2g}"
                line = f"  {row['name']:<{width}}  {rmse:>9}"
                if row.get("ratio") is not None:
                    line += (
                        f"  {row['ratio']:6.2f} x yours [{row['low']:.2f}, {row['high']:.2f}]"
                        f"  yours {row['yours']}"
                    )
                lines.append(line)
            lines.append(f"  {budget['verdict']}; recommended: {budget['recommended']}")
        return "\n".join(lines)
