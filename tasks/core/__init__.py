"""Errors, files, digests, settings, manifest, progress, tracking: what every room uses, and nothing of ours above."""
