"""Sweeps: the same stages under several settings, compared item by item; who wins is asked once more elsewhere."""
