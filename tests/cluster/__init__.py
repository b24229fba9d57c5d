"""The system on a real Kubernetes: `make e2e-cluster`."""
