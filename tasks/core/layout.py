"""Where outputs lie and what the hops are called: names that stages, reports and records agree on."""

#: The model on its way: base + adapter are two files served as one, then one file, then a small one.
HOPS = ("base", "adapter", "merged", "awq")

RAW = "data/raw"
PREPARED = "data/prepared"
VALIDATION = "data/reports/validation"
ADAPTER = "data/models/adapter"
MERGED = "data/models/merged"
AWQ = "data/models/awq"
GATE = "data/reports/gate"
DOSSIER = "data/reports/dossier"
#: Of people: in git, no output of a stage.
REVIEWS = "data/reviews"


def report_of(hop: str) -> str:
    """Return the path of a hop's evaluation report."""
    return f"data/reports/eval/{hop}"
