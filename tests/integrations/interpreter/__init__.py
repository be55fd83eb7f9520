"""Suites that need other frameworks, one folder for each: `./dev integrations` runs them, `./dev test` does not."""
