"""Taking in task lists: items of Redis lists and streams become executions of a launch plan, each exactly once."""
