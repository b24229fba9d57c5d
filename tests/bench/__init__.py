"""How fast it is, how large it may be, and how soon a new leader goes on; nothing here is part of the product."""
