"""What several tests share: a module per helper. Fixtures are registered in `tests/conftest.py`."""
