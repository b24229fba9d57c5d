"""Lists, dicts and both nested: bound item by item, and read item by item (`words[0]`, `index["a"]`)."""

from flytekit import task, workflow


@task
def split(text: str) -> list[str]:
    return text.split()


@task
def index_by_letter(words: list[str]) -> dict[str, list[str]]:
    index: dict[str, list[str]] = {}
    for word in words:
        index.setdefault(word[0], []).append(word)
    return index


@task
def length(word: str) -> int:
    return len(word)


@task
def total(lengths: list[int]) -> int:
    return sum(lengths)


@task
def table(rows: dict[str, list[dict[str, float]]]) -> list[dict[str, float]]:
    return [
        {f"{name}.{key}": value for key, value in row.items()} for name, group in sorted(rows.items()) for row in group
    ]


@workflow
def lists_and_dicts(
    text: str, rows: dict[str, list[dict[str, float]]]
) -> tuple[dict[str, list[str]], int, list[dict[str, float]]]:
    words = split(text=text)
    index = index_by_letter(words=words)
    first, second, listed = length(word=words[0]), length(word=words[1]), length(word=index["p"][0])
    return index, total(lengths=[first, second, listed, 100]), table(rows=rows)
