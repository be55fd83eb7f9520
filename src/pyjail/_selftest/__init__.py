"""`selftest`: runs the attempts of ``attacks`` in the user's own jail and judges them from outside."""
