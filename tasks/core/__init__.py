"""Stage contract, settings, manifest, errors, isolated interpreters, tracking."""
