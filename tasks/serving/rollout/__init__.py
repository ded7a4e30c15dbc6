"""A new version on a share of the traffic: who gets it, what is watched, when it is taken back or let through."""
