"""Files and directories: flytekit moves them through the blob store, tasks see plain paths."""

from pathlib import Path

from flytekit import current_context, task, workflow
from flytekit.types.directory import FlyteDirectory
from flytekit.types.file import FlyteFile


@task
def chapters(book: FlyteFile) -> FlyteDirectory:
    """One file for each paragraph."""
    folder = Path(current_context().working_directory) / "chapters"
    folder.mkdir()
    for number, text in enumerate(Path(book).read_text().split("\n\n")):
        (folder / f"{number:03}.txt").write_text(text.strip() + "\n")
    return FlyteDirectory(str(folder))


@task
def contents(folder: FlyteDirectory) -> FlyteFile:
    """The first line of every chapter, in order."""
    target = Path(current_context().working_directory) / "contents.txt"
    paths = sorted(Path(folder).iterdir())
    target.write_text("".join(path.read_text().splitlines()[0] + "\n" for path in paths))
    return FlyteFile(str(target))


@workflow
def files(book: FlyteFile) -> tuple[FlyteDirectory, FlyteFile]:
    folder = chapters(book=book)
    return folder, contents(folder=folder)
