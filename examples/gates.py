"""Gates: a workflow that waits for a person's approval, for a value that somebody enters, or for time to pass.

While it waits, nothing runs and no slot is taken. `airscrew approve` and `airscrew signal` open the gates, and so do
`FlyteRemote.approve` and `FlyteRemote.set_input`. In a local run the terminal asks.
"""

from datetime import timedelta

from flytekit import approve, sleep, task, wait_for_input, workflow


@task
def draft(topic: str) -> str:
    return f"Dear reader, {topic} is"


@task
def finish(text: str, verdict: str) -> str:
    return f"{text} {verdict}."


@workflow
def gates(topic: str) -> str:
    text = approve(draft(topic=topic), "the-draft", timeout=timedelta(hours=1))
    verdict = wait_for_input("the-verdict", timeout=timedelta(hours=1), expected_type=str)
    finished = finish(text=text, verdict=verdict)
    pause = sleep(timedelta(seconds=1))
    pause >> finished
    return finished
