"""The dossier: one page a reviewer can sign, and the model card, from the evidence of a run."""
