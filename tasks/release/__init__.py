"""Gate, dossier, registry, approvals: what decides whether a model goes live, and the record of it."""
