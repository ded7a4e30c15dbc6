"""Great Expectations on raw and prepared rows: flat frames, suites, drift, Data Docs."""
