"""Pictures of the data as inline SVG: waterfall of the ledger, bars and histograms."""
