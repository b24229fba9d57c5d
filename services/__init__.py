"""One folder per deployed process. Services never import each other: they meet through `libs.clients`."""
