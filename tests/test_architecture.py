"""The house rules that a machine can check: honest `dvc.yaml`, no code run from data, imports without effects.

Which room imports which, and where each heavy library is at home, `make lint` checks: the contracts of import-linter
stand in pyproject.toml.
"""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "maskdepth"
STAGES = ("unzip", "index", "stats", "split", "train", "evaluate", "report")

# What cannot change an output is no dependency of a stage: a changed message must not train again.
HARMLESS = {"params", "process", "tracking"}

# Of all modules in the folders that a stage declares, the share that it may leave unreached.
MOST_UNREACHED = 0.1


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(SOURCE).with_suffix("").parts)


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py")) if path.name != "__init__.py"}


@cache
def imports(path: Path) -> frozenset[str]:
    """Give every module that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(found)


def reached(path: Path) -> set[Path]:
    """Give every file of ours that a file reaches by imports; harmless ones are not followed."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        names = {name.removeprefix("maskdepth.") for name in imports(waiting.pop())} & set(MODULES)
        new = {MODULES[name] for name in names if name.split(".")[0] not in HARMLESS} - found
        found |= new
        waiting += new
    return found


def pipeline() -> dict:
    return YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def declared(stage: str) -> set[Path]:
    """Give the files of code and of constants that a stage declares, those of folders one by one."""
    deps = [ROOT / dep for dep in pipeline()[stage]["deps"] if dep.startswith(("src/", "stages/"))]
    files = {path for dep in deps for path in ([dep] if dep.is_file() else dep.rglob("*"))}
    return {path for path in files if path.is_file() and "__pycache__" not in path.parts and path.stat().st_size}


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_deps_hold_what_a_stage_reaches_and_next_to_nothing_else(stage):
    script = ROOT / "stages" / f"{stage}.py"
    modules = {path for path in declared(stage) if path.suffix == ".py"} - {script}
    assert reached(script) <= modules
    unreached = modules - reached(script)
    assert len(unreached) <= MOST_UNREACHED * len(modules), unreached


@pytest.mark.parametrize(
    ("reader", "constants"),
    [
        ("data/layouts/layout.py", "data/layouts/known/*.toml"),
        ("data/pictures/plotted_pages.py", "data/pictures/*.csv"),
    ],
)
@pytest.mark.parametrize("stage", STAGES[:-1])
def test_deps_hold_the_constants_that_a_module_reads(stage, reader, constants):
    if SOURCE / reader in declared(stage):
        files = set(SOURCE.glob(constants))
        assert files and files <= declared(stage)


def test_the_report_depends_on_files_and_its_own_code_alone():
    assert declared("report") == {ROOT / "stages" / "report.py"}


@pytest.mark.parametrize(
    ("changed", "rerun"),
    [
        ("data/archives/zips.py", {"unzip"}),
        ("training/states.py", {"train"}),
        ("device.py", {"train", "evaluate"}),
        ("figures.py", {"evaluate"}),
        ("process/console.py", set()),
        ("tracking/mirror.py", set()),
        ("models/dsunet.py", {"train", "evaluate"}),
    ],
)
def test_a_change_reruns_just_the_stages_whose_outputs_it_decides(changed, rerun):
    assert {stage for stage in STAGES if SOURCE / changed in declared(stage)} == rerun


@pytest.mark.parametrize("stage", STAGES[:-1])
def test_params_name_every_section_that_a_stage_reads(stage):
    tree = ast.parse((ROOT / "stages" / f"{stage}.py").read_text())
    sections = {"data", "split", "model", "loss", "train", "evaluate"}
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and ast.unparse(node.value) in {"params", "load_params()"}
        and node.attr in sections
    }
    assert read == set(pipeline()[stage].get("params", []))


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_that_a_stage_is_given_is_a_dependency_or_an_output(stage):
    entry = pipeline()[stage]
    outputs = [*entry.get("outs", []), *entry.get("metrics", [])]
    declared = {*entry["deps"], *(name for output in outputs for name in ([output] if type(output) is str else output))}
    given = set(entry["cmd"].split()[4::2])  # python -m stages.name --option value ...
    # A stage may be given the folder of what it declares file by file.
    unknown = {path for path in given - declared if not any(name.startswith(f"{path}/") for name in declared)}
    assert unknown == set()


@pytest.mark.parametrize("stage", STAGES)
def test_no_parameter_is_put_into_a_command_line(stage):
    # A value from params.yaml inside `cmd` would be run by a shell.
    assert "${" not in pipeline()[stage]["cmd"]


@pytest.mark.parametrize("name", MODULES)
def test_nothing_is_imported_from_a_package(name):
    packages = {f"maskdepth.{module.rpartition('.')[0]}".rstrip(".") for module in MODULES}
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module in packages:  # what is taken from it must be modules
            assert {f"{node.module}.{alias.name}".removeprefix("maskdepth.") for alias in node.names} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_nothing_unpickles_and_no_text_is_run(name):
    text = MODULES[name].read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "pickle.load", "pickle.loads", "joblib.load"}, f"{name}: {called}"
            if called == "torch.load":
                safe = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert safe.get("weights_only") == "True", f"{name}: torch.load without weights_only=True"


def run(code: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=False)


def test_importing_everything_has_no_effect(tmp_path):
    names = [f"maskdepth.{name}" for name in MODULES]
    code = f"import sys, importlib; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
    code += f"[importlib.import_module(name) for name in {names}]\nassert 'mlflow' not in sys.modules"
    done = run(code, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stage", ["unzip", "index", "stats", "split"])
def test_a_data_stage_starts_without_torch(stage):
    code = f"import sys, stages.{stage}; print({{'torch', 'kornia', 'torchvision', 'mlflow'}} & set(sys.modules))"
    assert run(code, ROOT).stdout == "set()\n"


@pytest.mark.parametrize(
    "module", ["answer", "results", "promotion", "comparing.page", "sweeping.sweep", "tracking.runs"]
)
def test_what_only_reads_numbers_or_names_starts_without_torch(module):
    code = f"import sys, maskdepth.{module}; print({{'torch', 'kornia', 'torchvision'}} & set(sys.modules))"
    assert run(code, ROOT).stdout == "set()\n"


def test_stages_import_the_source_beside_them(tmp_path):
    copy = tmp_path / "copy"
    (copy / "src" / "maskdepth").mkdir(parents=True)
    (copy / "stages").mkdir()
    (copy / "src" / "maskdepth" / "__init__.py").touch()
    (copy / "stages" / "__init__.py").write_text((ROOT / "stages" / "__init__.py").read_text())
    done = run("import stages, maskdepth; print(maskdepth.__file__)", copy)
    assert Path(done.stdout.strip()).is_relative_to(copy)
