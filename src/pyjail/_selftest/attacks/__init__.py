"""The attempts of ``pyjail selftest``: programs that try to break out, and to use more than they may.

One function is one attempt. They run inside of the jail, so they use nothing but the standard library and
`toolkit`; what they got away with is judged outside, in ``pyjail/_selftest``. Each does no harm if it succeeds.
"""
