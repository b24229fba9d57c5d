"""A container that knows nothing of Flyte: its inputs are files, and so are its outputs."""

from flytekit import ContainerTask, kwtypes, workflow

SQUARE = """
number = int(open("/var/inputs/number").read())
open("/var/outputs/square", "w").write(str(number * number))
open("/var/outputs/said", "w").write(f"{number} times {number}")
"""

square = ContainerTask(
    name="square",
    image="localhost/airscrew-task:dev",
    input_data_dir="/var/inputs",
    output_data_dir="/var/outputs",
    inputs=kwtypes(number=int),
    outputs=kwtypes(square=int, said=str),
    command=["python", "-c", SQUARE],
)


@workflow
def squared(number: int = 12) -> tuple[int, str]:
    squared, said = square(number=number)
    return squared, said
