"""The house rules that a machine can check: floors, homes of libraries, honest `dvc.yaml`, imports without effects."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "maskdepth"
NETWORKS = Path("src/maskdepth/models")
STAGES = ("unzip", "index", "stats", "split", "train", "evaluate", "report")

# From the ground up; a module imports ours only from a lower floor. `models.*` stands for every network.
FLOORS = (
    {"files"},
    {"params", "console", "journal", "runtime", "worker_pool"},
    {
        "recipes",
        "data.tables",
        "data.zips",
        "data.layouts",
        "data.layout_writer",
        "data.framed",
        "models.prediction",
        "models.blocks",
        "ssim",
        "drawing.textures",
    },
    {
        "data.archives",
        "data.pictures",
        "data.samples",
        "models.*",
        "models.network",
        "map_losses",
        "drawing.camera",
    },
    {"data.encoded"},
    {"data.arrays"},
    {
        "data.gallery",
        "data.members",
        "models.catalogue",
        "mask_losses",
        "depth_losses",
        "drawing.raycast",
    },
    {
        "data.pairing",
        "data.shards",
        "data.stats",
        "data.split",
        "checkpoint",
        "losses",
        "metrics",
        "drawing.objects",
        "drawing.indoors",
    },
    {
        "data.index",
        "data.batches",
        "predict_files",
        "drawing.outdoors",
        "drawing.placing",
        "labelling.alignment",
        "labelling.naming",
    },
    {
        "data.augmentation",
        "data.explain",
        "evaluation",
        "preparation",
        "summary",
        "drawing.scenes",
        "labelling.sources",
        "labelling.teacher",
    },
    {"training", "drawing.sample", "labelling.labels"},
    {"tracking", "composing", "report", "predict", "learning_rate"},
    {"doctor", "rate_finder"},
    {"cli"},
)

# Each heavy library has one home.
HOMES = {"mlflow": {"tracking"}, "matplotlib": {"report"}, "ruamel": {"params"}, "dvc": {"tracking"}}

# Modules that cannot change an output are left out of `deps`: a changed message must not train again.
HARMLESS = {"files", "params", "console", "journal", "tracking", "report", "runtime", "worker_pool"}


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


def ours(path: Path) -> set[str]:
    return {name.removeprefix("maskdepth.") for name in imports(path)} & set(MODULES)


def reached(path: Path) -> set[str]:
    """Give every module of ours that a file reaches by imports; harmless ones are not followed."""
    found: set[str] = set()
    waiting = ours(path)
    while waiting:
        name = waiting.pop()
        if name not in found and name.split(".")[0] not in HARMLESS:
            found.add(name)
            waiting |= ours(MODULES[name])
    return found


def floor(name: str) -> int:
    parent = name.rpartition(".")[0]
    for wanted in (name, f"{parent}.*", parent):
        for number, names in enumerate(FLOORS):
            if wanted in names:
                return number
    raise AssertionError(f"{name} has no floor: give it one in FLOORS")


def room(name: str) -> str:
    """Give the part of the tree within which modules may import each other freely."""
    return name.split(".", maxsplit=1)[0] if name.startswith(("tracking.", "composing.")) else name


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    for other in ours(MODULES[name]):
        assert floor(other) < floor(name) or room(other) == room(name), f"{name} imports {other}"


@pytest.mark.parametrize("name", MODULES)
def test_nothing_imports_a_stage_or_a_package(name):
    packages = {"maskdepth", *(f"maskdepth.{module.rpartition('.')[0]}" for module in MODULES if "." in module)}
    for other in imports(MODULES[name]):
        assert not other.startswith("stages"), f"{name} imports {other}"
        if other in packages:  # what is taken from it must be modules
            assert any(f"{other}.{module}" in imports(MODULES[name]) for module in leaves(other)), f"{name}: {other}"


def leaves(package: str) -> set[str]:
    """Give the names of the modules in a package."""
    prefix = f"{package}.".removeprefix("maskdepth.")
    return {module.removeprefix(prefix) for module in MODULES if module.startswith(prefix)}


@pytest.mark.parametrize("name", MODULES)
def test_heavy_libraries_have_one_home(name):
    for other in imports(MODULES[name]):
        for library, homes in HOMES.items():
            if other.split(".")[0] == library:
                assert name.split(".")[0] in homes, f"{name} imports {library}"


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


def pipeline() -> dict:
    return YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())["stages"]


def paths(entries: list) -> set[str]:
    return {entry if isinstance(entry, str) else next(iter(entry)) for entry in entries}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_name_every_module_that_a_stage_reaches(stage):
    script = ROOT / "stages" / f"{stage}.py"
    modules = {str(MODULES[name].relative_to(ROOT)) for name in reached(script)} | {f"stages/{stage}.py"}
    wanted = {str(NETWORKS) if Path(module).is_relative_to(NETWORKS) else module for module in modules}
    declared = {dep for dep in paths(pipeline()[stage]["deps"]) if dep.endswith(".py") or dep == str(NETWORKS)}
    if stage == "report":  # what it shows is made of files; its own code is all that counts
        wanted = {"stages/report.py"}
    assert declared == wanted
    if "data.layouts" in reached(script):
        assert "src/maskdepth/data/layouts" in paths(pipeline()[stage]["deps"])
    if "data.framed" in reached(script):
        assert "src/maskdepth/data/colour_maps.csv" in paths(pipeline()[stage]["deps"])


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
def test_no_parameter_is_put_into_a_command_line(stage):
    # A value from params.yaml inside `cmd` would be run by a shell.
    assert "${" not in pipeline()[stage]["cmd"]


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


def test_stages_import_the_source_beside_them(tmp_path):
    copy = tmp_path / "copy"
    (copy / "src" / "maskdepth").mkdir(parents=True)
    (copy / "stages").mkdir()
    (copy / "src" / "maskdepth" / "__init__.py").touch()
    (copy / "stages" / "__init__.py").write_text((ROOT / "stages" / "__init__.py").read_text())
    done = run("import stages, maskdepth; print(maskdepth.__file__)", copy)
    assert Path(done.stdout.strip()).is_relative_to(copy)
