"""Our protobuf messages to our values and back, both ways, only here.

Belongs here: a function per message, without I/O and without decisions. What arrives malformed raises InvalidArgument
naming the field.
"""
