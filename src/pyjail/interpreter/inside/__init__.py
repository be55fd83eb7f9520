"""What runs inside an interpreter's jail: sent there over its channel, it imports nothing but itself and Python's own.

What every start needs imports no module that Python itself has not loaded; the rest comes when it is first used.
"""
