"""Launch plans as nodes: each starts an execution of its own, with the plan's defaults and fixed inputs."""

from flytekit import LaunchPlan, task, workflow


@task
def grow(plants: int, days: int) -> int:
    return plants * (1 + days // 10)


@workflow
def season(plants: int, days: int) -> int:
    return grow(plants=plants, days=days)


summer = LaunchPlan.get_or_create(season, "summer", fixed_inputs={"days": 90})
winter = LaunchPlan.get_or_create(season, "winter", default_inputs={"days": 30})


@task
def total(summer: int, winter: int) -> int:
    return summer + winter


@workflow
def plans(plants: int) -> int:
    return total(summer=summer(plants=plants), winter=winter(plants=plants))
