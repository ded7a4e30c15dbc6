"""The sections of params.yaml, each field typed, none with a default: DVC sees every change."""
