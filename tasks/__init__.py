"""The pipeline: plain functions from typed parameters and input paths to files in one output directory."""
