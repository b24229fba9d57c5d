"""All services on one machine with one command: for laptops and tests.

Only processes and files are shared with the services: this package starts `python -m services.<name>` with settings in
the environment, and never imports one of them.
"""
