"""The co-pilot of a raw container: inputs become files before it starts, its files become outputs when it has ended.

A container that knows nothing of Flyte finds each input as a file and leaves each output as one (`data_config` of a
task, flytekit's `ContainerTask`). Two containers of the executor's image do the rest, by the protocol of Flyte's own
co-pilot (`flytecopilot` of flyteorg/flyte), so that tasks that were made for that run unchanged:

    download   an init container: literals of inputs.pb become files, and inputs.json, .yaml or .pb
    upload     a native sidecar: waits for the end of the pod's main containers, then files become outputs.pb

What went wrong is in error.pb at the attempt's prefix, as of any task. They have the credentials of the blob store,
which the task's container need not have: nothing that it leaves makes them read anything but what is its own.

**How the end is learnt.** Kubernetes sends SIGTERM to an init container with restart policy `Always` when all main
containers have ended, and waits for it as long as the pod's grace allows. That needs no rights in the cluster, no
shared process namespace and no help of the image, and Flyte 2 does the same. Whether the task's container has
*succeeded* is not told so, and the co-pilot need not know: the executor sees the exit code in the pod's state, and one
that is not 0 counts before whatever outputs are missing then (`failure.is_of_outputs`). A SIGTERM that comes before
there is a handler is lost, as the process is the first of its container: so it says when it is ready (`--ready`), and
a startup probe holds back everything else until then.
"""
