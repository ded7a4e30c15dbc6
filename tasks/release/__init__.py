"""Registry, approvals, champion, history, reconcile: whether a model goes live, and the record of it."""
