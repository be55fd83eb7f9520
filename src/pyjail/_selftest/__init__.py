"""``pyjail selftest``: runs the attempts of ``pyjail/attacks`` in the user's own jail and judges them from outside."""
