"""How what has ended goes, when an operator wants it to: what may go, removing it, and showing and counting that.

Needs no other part of the propeller.
"""
