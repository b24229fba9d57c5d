"""What the services say to each other: `*.proto` and the code generated from them (`make protos`), nothing else."""
