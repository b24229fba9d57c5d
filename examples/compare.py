"""Is what came out of an execution what a local run gives? Prints the typed outputs; exit code 1 when they differ.

python examples/compare.py CONFIG EXECUTION FILE WORKFLOW
"""

import importlib.util
import sys
from pprint import pformat
from typing import Any

from flytekit.configuration import Config
from flytekit.core.base_task import PythonTask
from flytekit.core.workflow import PythonFunctionWorkflow
from flytekit.remote import FlyteRemote, FlyteWorkflowExecution


def main(config: str, execution_name: str, file: str, workflow_name: str) -> int:
    workflow = load(file, workflow_name)
    remote = FlyteRemote(Config.auto(config), default_project="flytesnacks", default_domain="development")
    execution = remote.sync_execution(remote.fetch_execution(name=execution_name))
    local = locally(workflow, execution)
    same = True
    for name, type_ in workflow.python_interface.outputs.items():
        value = execution.outputs.get(name, as_type=type_)
        print(f"{name}: {readable(type_)} = {pformat(value, width=100, sort_dicts=False)}")
        if value != local[name]:
            print(f"  but a local run gives {pformat(local[name], width=100)}")
            same = False
    return 0 if same else 1


def load(file: str, workflow_name: str) -> PythonFunctionWorkflow | PythonTask:
    spec = importlib.util.spec_from_file_location("compared", file)
    assert spec is not None and spec.loader is not None, f"{file} is no Python file"
    module = importlib.util.module_from_spec(spec)
    sys.modules["compared"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    found: PythonFunctionWorkflow | PythonTask = getattr(module, workflow_name)
    return found


def locally(workflow: PythonFunctionWorkflow | PythonTask, execution: FlyteWorkflowExecution) -> dict[str, Any]:
    """The outputs of a local run on the inputs of the execution, by name."""
    inputs = {
        name: execution.inputs.get(name, as_type=type_) for name, type_ in workflow.python_interface.inputs.items()
    }
    outputs = workflow(**inputs)
    names = list(workflow.python_interface.outputs)
    return dict(zip(names, outputs if len(names) > 1 else (outputs,), strict=True))


def readable(type_: Any) -> str:
    return str(type_).replace("compared.", "") if hasattr(type_, "__args__") else type_.__name__


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
