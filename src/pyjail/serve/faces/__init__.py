"""Interfaces of other services, each a pure translation (`pyjail.serve.face`)."""
