"""Prefect: when and where stages run. The only code that imports prefect; the work itself is in tasks/."""
