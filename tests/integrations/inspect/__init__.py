"""Inspect AI's sandbox `pyjail`, in Inspect."""
