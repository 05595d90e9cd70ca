"""Change the code of a module in every small way, one at a time, and see whether its quick tests notice.

    pip install --no-deps --target /tmp/mutmut mutmut libcst
    PYTHONPATH=/tmp/mutmut python tests/faults/mutate.py split stats

The changes are those of mutmut, which is none of the project's dependencies; its own runner leaves out constants and
whatever has a decorator, so here they are made in every line. Each mutant is tried in a fork of a process that has
imported the libraries already, by the tests that reach the changed line, the quickest first. It counts as killed when
one fails or they run for ever. `survivors.csv` beside this lists those that are left and why: one that is not listed is
named, and the exit code is 1.
"""

import argparse
import contextlib
import csv
import functools
import gc
import importlib
import inspect
import io
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from itertools import takewhile
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import pytest
import pytest_timeout

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "maskdepth"
LISTED = Path(__file__).with_name("survivors.csv")
LISTED_COLUMNS = ("file", "before", "after", "reason")

# What is changed, and the tests that have to notice; the examples in its docstrings are among them.
MODULES = {
    "zips": (["data/archives/zips.py", "data/archives/local_headers.py"], ["data/archives/test_zips.py"]),
    "split": (["data/split.py"], ["data/test_split.py"]),
    "stats": (["data/stats.py"], ["data/test_stats.py"]),
    "ssim": (["losses/ssim.py"], ["losses/test_ssim.py"]),
    "metrics": (
        ["metrics/images.py", "metrics/students.py", "metrics/catalogue.py", "metrics/names.py"],
        ["metrics"],
    ),
    "summary": (["evaluation/summary.py"], ["evaluation/test_summary.py"]),
    "states": (["training/states.py"], ["training/test_states.py"]),
    "journal": (["tracking/journal.py"], ["tracking/test_journal.py"]),
    "outbox": (["tracking/outbox.py"], ["tracking/test_outbox.py"]),
}
GOAL = 0.9  # of the mutants of each module


class Mutant(NamedTuple):
    """A module with one change.

    Attributes:
        path: The file.
        line: Where the change begins, from 1.
        code: All of the changed file.
        before: The lines that it changes, as they were.
        after: The same lines changed.
    """

    path: Path
    line: int
    code: str
    before: str
    after: str

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is listed by: line numbers would go out of date."""
        return self.path.relative_to(SOURCE).as_posix(), self.before, self.after


class Baseline(NamedTuple):
    """How the tests went on the code as it is.

    Attributes:
        seconds: By test.
        reaching: The tests that reach a line, by file and line; "" stands for all.
        imported: The modules of libraries that it took.
    """

    seconds: dict[str, float]
    reaching: dict[str, dict[int, list[str]]]
    imported: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="module", help=f"of {', '.join(MODULES)}; all if none is named")
    parser.add_argument("--every", type=int, default=1, help="try only each so-manieth mutant")
    parser.add_argument("--listed", action="store_true", help="try only the listed ones")
    options = parser.parse_args()
    if unknown := set(options.modules) - MODULES.keys():
        parser.error(f"no module {' or '.join(sorted(unknown))} here, only {', '.join(MODULES)}")
    if find_spec("mutmut") is None:
        sys.exit("mutmut is not installed for this Python; tests/faults/mutate.py --help says how to run it")
    os.chdir(ROOT)
    return int(not all([try_module(name, options.every, options.listed) for name in options.modules or MODULES]))


def try_module(name: str, every: int, only_listed: bool) -> bool:
    """Try the mutants of one module; say whether all that survive are listed, and few."""
    begun = time.monotonic()
    files, tests = MODULES[name]
    sources = [SOURCE / file for file in files]
    arguments = [*(str(ROOT / "tests" / test) for test in tests), *map(str, sources)]
    mutants = [mutant for source in sources for mutant in make_mutants(source)]
    reasons = read_reasons()
    mutants = [mutant for mutant in mutants if mutant.key in reasons or not only_listed][::every]
    survivors: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="maskdepth-mutants-") as folder:
        baseline = run_baseline(arguments, sources, Path(folder))
        unchanged = [Mutant(source, 1, source.read_text(encoding="utf-8"), "", "") for source in sources]
        if any(is_killed(mutant, baseline, arguments, Path(folder)) for mutant in unchanged):
            sys.exit(f"the tests of {name} fail in a fork without any change")
        killed = find_killed(mutants, baseline, arguments, Path(folder))
        for mutant in (mutant for place, mutant in enumerate(mutants) if place not in killed):
            if not is_killed(mutant, baseline, arguments, Path(folder)):
                survivors.append(mutant)
                reason = reasons.get(mutant.key, "NOT LISTED")
                print(f"{mutant.key[0]}:{mutant.line}: {reason}\n- {mutant.before}\n+ {mutant.after}", flush=True)
    num_killed = len(mutants) - len(survivors)
    listed = sum(mutant.key in reasons for mutant in survivors)
    told = {
        "module": name,
        "mutants": len(mutants),
        "killed": num_killed,
        "survivors": len(survivors),
        "listed": listed,
    }
    print(json.dumps({"benchmark": "mutate", **told, "seconds": round(time.monotonic() - begun)}), flush=True)
    return listed == len(survivors) and (only_listed or every > 1 or num_killed >= GOAL * len(mutants))


def read_reasons() -> dict[tuple[str, str, str], str]:
    """Read why a mutant may survive, by what it is listed by."""
    with LISTED.open(encoding="utf-8", newline="") as file:
        return {(row["file"], row["before"], row["after"]): row["reason"] for row in csv.DictReader(file)}


def make_mutants(path: Path) -> list[Mutant]:
    """Make every change that mutmut knows, of all but types, docstrings, imports and decorators."""
    import libcst
    from libcst.metadata import MetadataWrapper, PositionProvider
    from mutmut.mutation.mutators import mutation_operators

    left_out = (libcst.Annotation, libcst.Decorator, libcst.Import, libcst.ImportFrom)
    text = path.read_text(encoding="utf-8")
    wrapper = MetadataWrapper(libcst.parse_module(text))
    positions = wrapper.resolve(PositionProvider)
    mutants: dict[str, Mutant] = {}

    def visit(node: libcst.CSTNode, line: int, statement: libcst.CSTNode, around: tuple[str, str]) -> None:
        if isinstance(node, left_out) or is_docstring(node):
            return
        line = positions[node].start.line if node in positions else line
        for kind, operator in mutation_operators:
            for changed in operator(node) if isinstance(node, kind) else ():
                part = wrapper.module.code_for_node(statement.deep_replace(node, changed))
                code = around[0] + part + around[1]
                if code != text:
                    mutants.setdefault(code, Mutant(path, line, code, *differing_lines(text, code)))
        for child in node.children:
            visit(child, line, statement, around)

    def is_docstring(node: libcst.CSTNode) -> bool:
        return isinstance(node, libcst.Expr) and isinstance(node.value, libcst.SimpleString)

    parts = [wrapper.module.code_for_node(node) for node in wrapper.module.children]
    assert "".join(parts) == text
    for number, statement in enumerate(wrapper.module.children):
        visit(statement, 1, statement, ("".join(parts[:number]), "".join(parts[number + 1 :])))
    return list(mutants.values())


def differing_lines(text: str, code: str) -> tuple[str, str]:
    """Give what differs as one line each.

    >>> differing_lines("a\\n  b\\n", "a\\n  c\\n")
    ('b', 'c')
    """

    def are_equal(pair: tuple[str, str]) -> bool:
        return pair[0] == pair[1]

    before, after = text.splitlines(), code.splitlines()
    same = sum(1 for _ in takewhile(are_equal, zip(before, after, strict=False)))
    ends = zip(reversed(before[same:]), reversed(after[same:]), strict=False)
    same_end = sum(1 for _ in takewhile(are_equal, ends))
    parts = before[same : len(before) - same_end], after[same : len(after) - same_end]
    told, told_after = (" ".join(line.strip() for line in lines) for lines in parts)
    return told, told_after


def run_baseline(arguments: list[str], sources: list[Path], folder: Path) -> Baseline:
    """Run all tests once in a fork, and import here what they took from libraries."""
    report = folder / "baseline.json"
    code = run_fork(lambda: write_baseline(arguments, sources, folder, report), None)
    if code or not report.is_file():
        sys.exit(f"the tests fail without any change: pytest {' '.join(arguments)}")
    baseline = Baseline(*json.loads(report.read_text()))
    baseline = baseline._replace(
        reaching={
            file: {int(line): tests for line, tests in lines.items()} for file, lines in baseline.reaching.items()
        }
    )
    for name in baseline.imported:
        with contextlib.suppress(Exception):  # of what is only there once something else is
            importlib.import_module(name)
    return baseline


def write_baseline(arguments: list[str], sources: list[Path], folder: Path, report: Path) -> int:
    """Run the tests and write a `Baseline`."""
    import coverage

    measured = coverage.Coverage(data_file=None, config_file=False, include=[str(path) for path in sources])
    seconds: dict[str, float] = {}

    class Watching:
        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item):
            begun = time.monotonic()
            measured.switch_context(item.nodeid)
            self.test = item.nodeid
            yield
            measured.switch_context("")
            seconds[item.nodeid] = time.monotonic() - begun
            return True

        @pytest.hookimpl(wrapper=True)
        def pytest_fixture_setup(self, fixturedef):
            # What a fixture of several tests has made is looked at by all of them.
            measured.switch_context(self.test if fixturedef.scope == "function" else "")
            made = yield
            measured.switch_context(self.test)
            return made

    known = set(sys.modules)
    measured.start()
    code = run_pytest(arguments, folder, Watching())
    measured.stop()
    data = measured.get_data()
    imported = [
        name for name, module in sys.modules.items() if name not in known and "site-packages" in str(module.__spec__)
    ]
    reaching = {str(path): data.contexts_by_lineno(str(path)) for path in sources}
    report.write_text(json.dumps([seconds, reaching, imported]))
    return code


def find_killed(mutants: list[Mutant], baseline: Baseline, arguments: list[str], folder: Path) -> set[int]:
    """Try those mutants whose change is within a function in forks of one run of pytest that has collected its tests.

    The functions that everybody has imported get the changed code: nothing is imported again, and a mutant costs its
    tests alone.

    Returns:
        Places of mutants that are killed; another one may be, by what was done before, as modules were imported.
    """
    report = folder / "killed.json"

    class Looping:
        def pytest_runtestloop(self, session):
            items = {item.nodeid: item for item in session.items}
            killed = []
            for place, mutant in enumerate(mutants):
                tests = find_tests(mutant, baseline)
                changed = find_changed_code(mutant.path, mutant.code)
                if tests and changed:
                    chosen = [items[test] for test in tests]
                    patience = find_patience(tests, baseline)
                    result = run_fork(functools.partial(try_functions, changed, chosen), patience)
                    killed += [place] * (result in (1, -1))
            report.write_text(json.dumps(killed))
            return True

    run_fork(lambda: run_pytest(arguments, folder, Looping()), None)
    return set(json.loads(report.read_text()))


def try_functions(changed: dict[str, CodeType], items: list[pytest.Item]) -> int:
    """Run tests with other code in some functions, until one fails."""
    session = items[0].session
    # Not `isinstance`, which asks objects that answer with an error.
    for function in [each for each in gc.get_objects() if type(each) is FunctionType]:
        code = changed.get(function.__code__.co_qualname)
        if code and code.co_filename == function.__code__.co_filename:
            if len(code.co_freevars) != len(function.__code__.co_freevars):
                return 0
            function.__code__ = code
    for item, following in zip(items, [*items[1:], None], strict=True):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        if session.testsfailed:
            return 1
    return 0


def find_changed_code(path: Path, text: str) -> dict[str, CodeType]:
    """Give the changed functions by their names; none if anything outside of functions is changed."""
    try:
        before, after = (list_code(compile(code, path, "exec")) for code in (path.read_text(encoding="utf-8"), text))
    except SyntaxError:
        return {}
    if before[0] != after[0] or before[1].keys() != after[1].keys():
        return {}
    return {name: code for name, code in after[1].items() if "<" not in name and spell(code) != spell(before[1][name])}


def list_code(code: CodeType) -> tuple[list[Any], dict[str, CodeType]]:
    """Separate what is done as a module is imported from the functions that it makes."""
    outside, functions = [code.co_code, code.co_names], {}
    for constant in code.co_consts:
        if not isinstance(constant, CodeType):
            outside.append(repr(constant))
        elif constant.co_flags & inspect.CO_OPTIMIZED and "<" not in constant.co_qualname:
            functions[constant.co_qualname] = constant
        elif constant.co_flags & inspect.CO_OPTIMIZED:  # a lambda or a comprehension, done or used as it is imported
            outside.append(spell(constant))
        else:
            inner, methods = list_code(constant)
            outside += inner
            functions |= methods
    return outside, functions


def spell(code: CodeType) -> list[Any]:
    """Give all that matters of some code, without the places of its lines."""
    inner = [spell(each) if isinstance(each, CodeType) else repr(each) for each in code.co_consts]
    return [code.co_code, code.co_names, code.co_varnames, code.co_freevars, code.co_exceptiontable, inner]


def find_tests(mutant: Mutant, baseline: Baseline) -> list[str]:
    """List the tests that reach the changed line, the quickest first."""
    reaching = baseline.reaching[str(mutant.path)]
    # A statement of several lines counts as reached where it begins.
    line = max((line for line in reaching if line <= mutant.line), default=0)
    found = set(reaching.get(mutant.line) or reaching.get(line, []))
    tests = set(baseline.seconds) if "" in found else found & baseline.seconds.keys()
    return sorted(tests, key=baseline.seconds.__getitem__)


def find_patience(tests: list[str], baseline: Baseline) -> float:
    return 10 + 10 * sum(baseline.seconds[test] for test in tests)


def is_killed(mutant: Mutant, baseline: Baseline, arguments: list[str], folder: Path) -> bool:
    """Try one mutant on the tests that reach it, importing it anew."""
    tests = find_tests(mutant, baseline)
    if not tests:
        return False
    needed = [argument for argument in arguments if any(is_of(test, argument) for test in tests)]

    class Chosen:
        def pytest_sessionstart(self):
            # Before the finder of pytest, which would read a module with examples for itself.
            sys.meta_path.insert(0, MutatedFinder(mutant))

        def pytest_collection_modifyitems(self, items):
            found = {item.nodeid: item for item in items}
            items[:] = [found[test] for test in tests if test in found]

    def run() -> int:
        sys.meta_path.insert(0, MutatedFinder(mutant))  # a conftest.py is read before the session starts
        return run_pytest(needed, folder, Chosen())

    return run_fork(run, find_patience(tests, baseline)) != 0


def is_of(test: str, argument: str) -> bool:
    return (ROOT / test.partition("::")[0]).is_relative_to(argument)


class MutatedFinder:
    """Imports a mutant in place of the module that it was made of."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant
        self.name = ".".join(mutant.path.relative_to(SOURCE.parent).with_suffix("").parts)

    def find_spec(self, name, path=None, target=None):
        if name != self.name:
            return None
        loader = MutatedLoader(name, str(self.mutant.path))
        loader.code = self.mutant.code
        return spec_from_file_location(name, self.mutant.path, loader=loader)


class MutatedLoader(SourceFileLoader):
    """Compiles what it was given; nothing of it gets into a cache."""

    code = ""

    def get_code(self, fullname):
        return compile(self.code, self.path, "exec")


class Unshrunk:
    """Spares hypothesis most of the inputs, the search for the smallest on which a mutant fails, and its memory."""

    def pytest_collection(self):
        from hypothesis import Phase, settings

        few = {"max_examples": 25, "phases": (Phase.explicit, Phase.generate)}
        settings.register_profile("mutants", deadline=None, database=None, derandomize=True, **few)
        settings.load_profile("mutants")


def run_pytest(arguments: list[str], folder: Path, plugin: object) -> int:
    """Run tests in this process, with the plugins that they need and no other."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    temporary = folder / "tests"
    options = ["-x", "-q", "--assert=plain", "--tb=no", "-p", "no:cacheprovider", f"--basetemp={temporary}"]
    with contextlib.redirect_stdout(io.StringIO()):
        return int(pytest.main([*options, *arguments], plugins=[pytest_timeout, plugin, Unshrunk()]))


def run_fork(run, patience: float | None) -> int:
    """Run something in a fork and give its exit code; -1 if it took longer than `patience` [s]."""
    child = os.fork()
    if not child:
        code = 70
        try:
            os.setsid()
            with Path(os.devnull).open("w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
                os.dup2(nowhere.fileno(), 2)
            code = run()
        finally:
            os._exit(code)
    deadline = None if patience is None else time.monotonic() + patience
    for _ in pauses():
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if deadline is not None and time.monotonic() > deadline:
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -1
    raise AssertionError("a pause follows every other")


def pauses() -> Iterator[None]:
    while True:
        yield
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
