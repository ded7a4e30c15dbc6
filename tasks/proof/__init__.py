"""Who signed what: keys, envelopes, release records, approvals, and the check of a whole chain of them."""
