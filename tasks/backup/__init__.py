"""A project's records kept apart and brought back; its databases moved from sqlite to Postgres."""
