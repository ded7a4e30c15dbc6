"""Headers by which the gateway says what answered; who asks it reads them by the same names."""

REQUEST_ID, VERSION, LINEAGE = "x-request-id", "x-tunegate-version", "x-tunegate-lineage"
