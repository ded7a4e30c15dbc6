"""What several gateways of one model share: limits, budgets and places, in a Redis or Valkey server."""
