"""
The rules of the house that neither ruff, mypy nor import-linter can hold. There are no exceptions.

What they hold (layers, frameworks, keys, lazy imports) is configured in `pyproject.toml`.
"""

import ast
import gc
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

import og_integrations
from og_integrations import errors

ROOT = Path(__file__).parent.parent
PACKAGE = sorted((ROOT / "og_integrations").rglob("*.py"))
FILES = PACKAGE + sorted((ROOT / "tests").rglob("*.py")) + sorted((ROOT / "cookbook").rglob("*.py"))
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 50
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}

each_file = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
each_module = pytest.mark.parametrize("path", PACKAGE, ids=lambda path: str(path.relative_to(ROOT)))


def nodes_of(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


@each_file
def test_file_is_short(path: Path) -> None:
    """A file is read in one sitting."""
    assert len(path.read_text().splitlines()) <= MAX_FILE_LINES


def lines_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the lines of `function` without its decorators and docstring."""
    first, last = function.body[0], function.end_lineno or 0
    lines = last - function.lineno + 1
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


@each_file
def test_functions_are_short(path: Path) -> None:
    """A function fits on one screen."""
    functions = [n for n in nodes_of(path) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: lines_of(f) for f in functions if lines_of(f) > MAX_FUNCTION_LINES} == {}


@each_file
def test_name_says_something(path: Path) -> None:
    """No file or folder is a drawer for what found no place."""
    names = {part.removesuffix(".py").strip("_") for part in path.relative_to(ROOT).parts}
    assert names & EMPTY_NAMES == set()


ROOMS = [path.parent for path in PACKAGE if path.name == "__init__.py" and len(list(path.parent.iterdir())) > 2]


@pytest.mark.parametrize("folder", ROOMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_map_names_every_file(folder: Path) -> None:
    """The docstring of a package is its map: it names each file, and none that is gone."""
    if folder.name in ("og_integrations", "llama_index"):
        return
    drawn = importlib.import_module(module_name(folder / "__init__.py")).__doc__ or ""
    first_columns = re.findall(r"^\| (`.*?) \|", drawn, re.MULTILINE)
    named = re.findall(r"`(\w+)`", " ".join(first_columns))
    files = [path.stem for path in folder.glob("*.py")] + [path.parent.name for path in folder.glob("*/__init__.py")]
    assert sorted(named) == sorted(set(files) - {"__init__"})


def names_in(expression: ast.expr | None) -> set[str]:
    return {n.id for n in ast.walk(expression) if isinstance(n, ast.Name)} if expression else {"bare"}


def reraises(handler: ast.ExceptHandler) -> bool:
    raised = [n.exc for n in ast.walk(handler) if isinstance(n, ast.Raise)]
    thrown = [
        n for n in ast.walk(handler) if isinstance(n, ast.Call) and ast.unparse(n).endswith(f".throw({handler.name})")
    ]
    return bool(thrown) or any(exc is None or (isinstance(exc, ast.Name) and exc.id == handler.name) for exc in raised)


@each_module
def test_no_broad_except(path: Path) -> None:
    """What is caught is named; `BaseException` only to clean up and pass it on (by `throw`: to a generator)."""
    for node in nodes_of(path):
        if isinstance(node, ast.ExceptHandler):
            caught = names_in(node.type)
            assert not caught & {"bare", "Exception"}, f"line {node.lineno}"
            assert "BaseException" not in caught or reraises(node), f"line {node.lineno}"
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            swallowed = {name for argument in node.args for name in names_in(argument)}
            assert not swallowed & {"Exception", "BaseException"}, f"line {node.lineno}"


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


EXPORTING = [module_name(path) for path in PACKAGE if re.search(r"^__all__\b", path.read_text(), re.MULTILINE)]


@pytest.mark.parametrize("name", EXPORTING)
def test_exports_are_sorted_and_real(name: str) -> None:
    """`__all__` is in `sorted()` order, without doubles, and each name exists."""
    module = importlib.import_module(name)
    assert list(module.__all__) == sorted(set(module.__all__))
    assert [export for export in module.__all__ if not hasattr(module, export)] == []


def test_lazy_names_are_the_exports() -> None:
    """The table of homes and `__all__` list the same names, and `dir()` shows them."""
    assert {*og_integrations._HOMES, "__version__"} == set(og_integrations.__all__)
    assert set(og_integrations.__all__) <= set(dir(og_integrations))


def test_unknown_name_is_an_attribute_error() -> None:
    """A typo fails as in any module."""
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        _ = og_integrations.Cleint  # type: ignore[attr-defined]


def test_name_of_the_published_package_says_where_it_is() -> None:
    """Whoever comes from `opengradient` looks for `LLM` here first."""
    with pytest.raises(AttributeError, match=r"no attribute 'LLM': .* in og_integrations\.sdk"):
        _ = og_integrations.LLM  # type: ignore[attr-defined]


HEAVY = {"eth_abi", "eth_account", "httpcore", "httpx", "onnxruntime", "rich", "web3"}
FRAMEWORKS = {"langchain_core", "llama_index"}


@pytest.mark.parametrize(
    ("name", "heavy"),
    [
        ("og_integrations", HEAVY | FRAMEWORKS | {"numpy", "pydantic"}),
        ("og_integrations.langchain", HEAVY | {"llama_index", "numpy"}),
        ("og_integrations.llama_index", HEAVY | {"langchain_core"}),  # which loads numpy itself
        ("og_integrations.openai", HEAVY | FRAMEWORKS | {"agents", "numpy"}),
    ],
)
def test_import_stays_light(name: str, heavy: set[str]) -> None:
    """Importing costs the framework and nothing else; the rest is loaded by the first call."""
    code = f"import sys, {name}; print(*sorted({heavy} & sys.modules.keys()))"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (loaded.stdout.split(), loaded.returncode) == ([], 0), loaded.stderr


def tree_of(error: type[Exception], depth: int = 0) -> list[str]:
    children = [cls for cls in vars(errors).values() if isinstance(cls, type) and cls.__bases__[0] is error]
    return [" " * 4 * depth + error.__name__, *(line for cls in children for line in tree_of(cls, depth + 1))]


def test_drawn_exception_tree_is_the_real_one() -> None:
    """The docstring of `errors` draws all of its classes, in the order of the file."""
    drawing = re.search(r"```text\n(.*?)\n```", errors.__doc__ or "", re.DOTALL)
    assert drawing is not None
    assert drawing[1].splitlines() == tree_of(errors.OpenGradientError)


def test_no_error_is_one_that_llama_index_swallows() -> None:
    """Every exception class is in the tree, and none is a `ValueError` or `TypeError`."""
    classes = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, Exception)]
    assert [cls for cls in classes if not issubclass(cls, errors.OpenGradientError)] == []
    assert [cls for cls in classes if issubclass(cls, ValueError | TypeError)] == []


SYNC_NAMES = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
CHECKED_DUNDERS = {"__init__", "__enter__", "__exit__", "__aenter__", "__aexit__"}


def interface_of(client: type) -> dict[str, list[tuple[str, object, object]]]:
    """Describe the public methods of `client` under their sync names, annotations left out."""
    methods = {n: m for n, m in inspect.getmembers(client) if not n.startswith("_") or n in CHECKED_DUNDERS}
    return {
        SYNC_NAMES.get(name, name): [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]
        if callable(method)
        else []
        for name, method in methods.items()
    }


def test_sync_and_async_clients_agree() -> None:
    """The two clients differ in `await` and in nothing else."""
    sync, asynchronous = interface_of(og_integrations.Client), interface_of(og_integrations.AsyncClient)
    assert sync == asynchronous


MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|work|Users|opt)/\w")
PACKAGE_INDEX = re.compile(r"index[-_]url|find[-_]links|/simple\b|files\.pythonhosted|registry\.npmjs")


def _files_of_the_tree() -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    return [name for name in listing.stdout.decode().split("\0") if name]


def test_no_file_is_left_over() -> None:
    """A patch or a merge leaves copies behind, which would be packaged and read as if they were code."""
    leftovers = (".orig", ".rej", ".bak", ".pyc", "~")
    assert [name for name in _files_of_the_tree() if name.endswith(leftovers) and (ROOT / name).exists()] == []


def test_no_file_names_this_machine() -> None:
    """The tree works on any machine: no absolute path, and no package index but the default one."""
    found = []
    for name in _files_of_the_tree():
        path = ROOT / name
        text = path.read_text(errors="replace") if path.is_file() and path != Path(__file__) else ""
        found += [(name, hit[0]) for hit in (MACHINE_PATH.search(text), PACKAGE_INDEX.search(text)) if hit]
    assert found == []


READS_THE_ENVIRONMENT = {"client/_settings.py", "devnet/chain/_evm.py", "pytest_plugin.py"}


@each_module
def test_environment_is_read_in_settings_only(path: Path) -> None:
    """Besides: anvil needs PATH, and the pytest plugin sets what it serves."""
    names = {ast.unparse(node) for node in nodes_of(path) if isinstance(node, ast.Attribute)}
    if path.relative_to(ROOT / "og_integrations").as_posix() not in READS_THE_ENVIRONMENT:
        assert not names & {"os.environ", "os.getenv"}


CROSSED = {"Client.chat": 31, "complete": 37, "invoke": 38, "streamed tool call": 42}
"""How many files of ours a warm call crosses, at most. Whoever follows one call opens all of these."""


@pytest.fixture(scope="module")
def warm_calls() -> Iterator[dict[str, Callable[[], object]]]:
    """Each way to ask, on a client that has asked before: connected, paid for, and what it asks for learned."""
    from og_integrations.devnet import Devnet
    from og_integrations.langchain import ChatOpenGradient
    from og_integrations.llama_index import OpenGradientLLM

    def weather(city: str) -> str:
        """Return the weather of a city."""
        return city

    name, messages = "openai/gpt-4.1", [{"role": "user", "content": "hi"}]
    with Devnet() as net, og_integrations.Client(network=net.network, private_key=net.private_key) as client:
        chat = ChatOpenGradient(model=name, network=net.network, private_key=net.private_key)
        llm = OpenGradientLLM(model=name, network=net.network, private_key=net.private_key)
        bound = chat.bind_tools([weather])
        calls: dict[str, Callable[[], object]] = {
            "Client.chat": lambda: client.chat(name, messages),
            "invoke": lambda: chat.invoke("hi"),
            "complete": lambda: llm.complete("hi"),
            "streamed tool call": lambda: list(bound.stream('use tool weather {"city":"Oslo"}')),
        }
        for _ in range(2):
            for call in calls.values():
                call()
        yield calls
        chat.close()
        llm.close()


@pytest.mark.parametrize("way", CROSSED)
def test_warm_call_crosses_few_files(warm_calls: dict[str, Callable[[], object]], way: str) -> None:
    """What every call needs is in few files; a new room that adds to each call is met here, and not by its readers."""
    root, crossed = f"{ROOT}/og_integrations/", set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(root) and not name.startswith(f"{root}devnet/"):
            crossed.add(name.removeprefix(root))

    # Once more: a connection that waited for too long is made anew.
    warm_calls[way]()
    # What the collector frees meanwhile belongs to other tests.
    gc.disable()
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        warm_calls[way]()
    finally:
        sys.setprofile(before)
        gc.enable()
    assert len(crossed) <= CROSSED[way], sorted(crossed)
