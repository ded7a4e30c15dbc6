"""Where outputs lie and what the hops are called: names that stages, reports and records agree on."""

#: The model on its way: base + adapter are two files served as one, then one file, then a small one.
HOPS = ("base", "adapter", "merged", "awq")

RAW = "data/raw"
#: Of it, what no model is made from: a changed document must train nothing again (.dvcignore says the same to DVC).
NOT_TRAINED_ON = ("data/raw/corpus", "data/raw/eval/retrieval")
PREPARED = "data/prepared"
VALIDATION = "data/reports/validation"
ADAPTER = "data/models/adapter"
MERGED = "data/models/merged"
AWQ = "data/models/awq"
GATE = "data/reports/gate"
DOSSIER = "data/reports/dossier"
#: Of people: in git, no output of a stage.
REVIEWS = "data/reviews"
#: No stage: it follows the documents, not the model, and no version is made from it (tunegate index build).
INDEX = "data/index"
RETRIEVAL_QUESTIONS = "data/raw/eval/retrieval/questions.jsonl"
GROUNDED_REPORT = "data/reports/grounded"


def report_of(hop: str) -> str:
    """Return the path of a hop's evaluation report."""
    return f"data/reports/eval/{hop}"
