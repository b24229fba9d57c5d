"""One interface over a directory, S3, GCS and Azure, and the layout of paths in it."""
