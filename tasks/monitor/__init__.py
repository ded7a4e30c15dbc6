"""What is live, looked at on a schedule: canaries and evidence, what callers ask, what they are answered."""
