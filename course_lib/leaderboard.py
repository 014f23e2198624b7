"""All generators of the course in one table, read from the metadata of the shipped checkpoints. No lesson writes a file
that others share: a generator that ships with measured metrics is a row."""

from dataclasses import dataclass
from html import escape

from course_lib import checkpoint

COLUMNS = {                                    # heading -> what it means, best value
    "generator": "name of the checkpoint: checkpoint.load(name).sample(n)",
    "family": "", "lesson": "",
    "numbers": "how many numbers were fitted",
    "time": "seconds of fitting, on the machine that made the checkpoint",
    "Fréchet": "distance from the test digits in what the judge sees, with a 95 % interval; 0 is best",
    "kernel": "squared kernel distance; 0 is best",
    "precision": "share of samples that fall among real digits; 1 is best",
    "recall": "share of real digits that samples come near; 1 is best",
    "control": "share of samples that show the digit asked for; 1 is best",
    "copying": "probability that a sample lies nearer to the training digits than a fresh digit does; 0.5 is best, "
               "1 are copies",
}
MARKS = {"ceiling": "▲", "floor": "▼"}


@dataclass
class Leaderboard:
    """A table that prints as text and shows as HTML in a notebook. `rows` holds the metadata, best first."""

    rows: list[dict]

    def cells(self) -> list[list[str]]:
        """The text of each row, a string for each of COLUMNS."""
        return [_cells(row) for row in self.rows]

    def notes(self) -> list[str]:
        """What stands below the table: the meaning of its marks, and who was measured by another judge."""
        marks = [f"{mark} {role}: {about}" for role, mark, about in
                 [("ceiling", MARKS["ceiling"], "real training digits"),
                  ("floor", MARKS["floor"], "random pixels")] if any(r.get("role") == role for r in self.rows)]
        judge = checkpoint.metadata("judge")["sha256"] if "judge" in checkpoint.names() else None
        old = [r["name"] for r in self.rows if r.get("judge") != judge]
        return marks + [f"measured by an earlier judge, not comparable: {', '.join(old)}"] * bool(old)

    def __repr__(self) -> str:
        table = [list(COLUMNS)] + self.cells()
        widths = [max(len(line[i]) for line in table) for i in range(len(COLUMNS))]
        lines = ["  ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))).rstrip()
                 for line in table]
        return "\n".join([lines[0], "─" * len(lines[0]), *lines[1:], *self.notes()])

    def _repr_html_(self) -> str:
        def cell(tag, i, text, title=""):
            style = f"text-align:{'left' if i < 2 else 'right'};white-space:nowrap"
            return f'<{tag} style="{style}" title="{escape(title)}">{escape(text)}</{tag}>'

        head = "".join(cell("th", i, name, about) for i, (name, about) in enumerate(COLUMNS.items()))
        body = ["".join(cell("td", i, text) for i, text in enumerate(line)) for line in self.cells()]
        notes = "".join(f'<p style="margin:0"><small>{escape(note)}</small></p>\n' for note in self.notes())
        table = "\n".join(f"<tr>{line}</tr>" for line in [head, *body])
        return f'<table style="font-size:90%">\n{table}\n</table>\n{notes}'


def leaderboard(*names: str) -> Leaderboard:
    """Every shipped generator, best Fréchet distance first; or only the ones named.

    A checkpoint is a generator if its metadata reports a "frechet" metric.  Raises ValueError for a name that is none.
    """
    rows = [checkpoint.metadata(name) | {"name": name} for name in names or checkpoint.names()]
    for row in rows:
        if names and "frechet" not in row["metrics"]:
            raise ValueError(f"checkpoint {row['name']!r} was not measured as a generator: it has no Fréchet distance")
    return Leaderboard(sorted((r for r in rows if "frechet" in r["metrics"]), key=lambda r: r["metrics"]["frechet"]))


def _cells(row: dict) -> list[str]:
    m = row["metrics"]
    distance = f"{_short(m['frechet'])} ± {_short(m['frechet_error'], like=m['frechet'])}"
    return [row["name"] + (f" {MARKS[row['role']]}" if row.get("role") in MARKS else ""), row.get("family", ""),
            str(row.get("lesson", "")), f"{row['parameters']:,}" if row.get("parameters") else "–",
            f"{row['seconds']:.{1 if row['seconds'] < 10 else 0}f} s" if row.get("parameters") else "–",
            distance, _short(m["kernel"]),
            *(f"{m[key]:.2f}" if key in m else "–" for key in ("precision", "recall", "control", "memorisation"))]


def _short(value: float, like: float | None = None) -> str:
    """As many decimals as three digits of `like` (default: the value) have, at most two: 0.34, 17.1, 817."""
    size = abs(value if like is None else like)
    return f"{value:.{2 if size < 10 else 1 if size < 100 else 0}f}"
