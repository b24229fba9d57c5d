"""Echo tasks: answered at once, without a process. They stand for work while a workflow's shape is being tried."""

from flytekit import workflow
from flytekit.core.task import Echo

wind = Echo(name="wind", inputs={"speed": float})
weather = Echo(name="weather", inputs={"speed": float, "station": str})


@workflow
def echoes(speed: float, station: str) -> tuple[float, str]:
    return weather(speed=wind(speed=speed), station=station)
