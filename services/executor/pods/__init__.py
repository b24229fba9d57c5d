"""Tasks as pods of a Kubernetes cluster: what runs an attempt where `AIRSCREW_TASK_BACKEND` is `pod`.

What decides is pure: which pod an attempt becomes (`manifest` and what it is made of), what a pod's state means
(`observe`), what a refusal of the API server means (`refusals`). The cluster is a port (`cluster`), the only module
that knows the client library.
"""
