"""Jails for other frameworks: one module for each, made of pyjail's public names alone.

A module here imports the framework that it is for, which its extra installs: ``inspect`` for
``pyjail.integrations.inspect``. Nothing of pyjail imports them by itself. What fails in pyjail or on the machine
raises what the framework has for that: it is never an answer of the program.
"""
