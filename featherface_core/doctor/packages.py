"""Group ``packages``: what is installed, whether it imports, and what it can run on.

What is required stands in the distribution's own metadata, thus in pyproject.toml alone.
"""

import re
import shutil
import subprocess
from importlib import metadata

from featherface_core.doctor.finding import DoctorOptions, Imported
from featherface_core.machine import how_to_install
from featherface_core.results import Finding

MODULES = {"opencv-python": "cv2", "pyyaml": "yaml"}  # where the module is not called as its package
OPTIONAL = ("tensorboard", "openvino", "ray")
SYSTEM_LIBRARIES = re.compile(r"lib(GL\.so|GLX|gthread|glib|SM\.so|Xext|Xrender)")


def declared() -> dict[str, str]:
    """Required packages: name to requirement as declared ("rich" to "rich>=13.8"), extras left out.

    Empty where featherface itself is not installed.
    """
    try:
        lines = metadata.requires("featherface") or []
    except metadata.PackageNotFoundError:
        return {}
    names = {match[0]: line for line in lines if (match := re.match(r"[\w.-]+", line))}
    return {name: line for name, line in names.items() if not re.search(r";.*\bextra\b", line)}


def module_of(package: str) -> str:
    """The module that a package is imported as."""
    return MODULES.get(package, package.replace("-", "_"))


def package_of(module: str) -> str:
    """The package that a module comes in."""
    return next((package for package in (*MODULES, *declared()) if module_of(package) == module), module)


def meets(version: str, specifier: str) -> bool | None:
    """Whether ``version`` satisfies a specifier such as ">=2.9"; None where that cannot be told."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # it comes with onnxruntime, which may be the one that is missing
        return None
    return SpecifierSet(specifier).contains(version, prereleases=True)


def installed(package: str) -> tuple[str, str | None]:
    """The distribution that provides a package's module, and its version or None: opencv-python-headless will do."""
    try:
        return package, metadata.version(package)
    except metadata.PackageNotFoundError:
        for other in metadata.packages_distributions().get(module_of(package), ()):
            return other, metadata.version(other)
    return package, None


def mend(imported: Imported) -> str:
    """The command for a module that does not import."""
    package = package_of(imported.module)
    name, version = installed(package)
    if imported.missing and version is None:
        return how_to_install(f'"{declared().get(package, package)}"')
    if imported.module == "cv2" and SYSTEM_LIBRARIES.search(imported.problem):
        return (
            "apt-get install libgl1 libglib2.0-0, or, for a machine without a screen: "
            f"pip uninstall -y {name} && {how_to_install('opencv-python-headless')}"
        )
    # the version that is there: the newest torch would bring another build with it
    pinned = f"{name}=={version.partition('+')[0]}" if version else name
    return how_to_install(pinned, "--force-reinstall")


def required(package: str, options: DoctorOptions) -> Finding:
    """One required package: its version against the requirement, and its import."""
    requirement = declared().get(package, package)
    if not _applies(requirement):
        return Finding("packages", package, "skip", f"not needed on this system: {requirement}")
    specifier = re.sub(r"^[\w.-]+\s*(\[[^]]*\])?|;.*", "", requirement).strip(" ()")
    name, version = installed(package)
    imported = options.imports.of(module_of(package))
    if version is None and imported.missing:
        return Finding(
            "packages", package, "fail", f"not installed, needs {specifier or 'any version'}", mend(imported)
        )
    found = f"{name} {version}" if name != package else version or "no version on record"
    found += f", needs {specifier}" if specifier else ""
    fitting = meets(version, specifier) if version else None
    if fitting is False:
        found += f"; does not import: {imported.problem}" if imported.problem else ""
        return Finding("packages", package, "fail", found, how_to_install(f'"{name}{specifier}"', "--upgrade"))
    if imported.problem:
        return Finding("packages", package, "fail", f"{found}; does not import: {imported.problem}", mend(imported))
    found += f"; imports in {imported.seconds:.1f} s"
    if version is None:
        return Finding("packages", package, "warn", found, how_to_install(f'"{requirement}"', "--force-reinstall"))
    if fitting is None:
        return Finding("packages", package, "skip", f"{found}; version not compared", how_to_install("packaging"))
    return Finding("packages", package, "ok", found)


def _applies(requirement: str) -> bool:
    """Whether a requirement's marker ("; sys_platform == ...") holds here; True where it cannot be told."""
    try:
        from packaging.requirements import Requirement
    except ImportError:
        return True
    marker = Requirement(requirement).marker
    return marker is None or marker.evaluate()


def requirements(options: DoctorOptions) -> Finding:
    """Whether the list of required packages could be read at all."""
    if count := len(declared()):
        return Finding("packages", "requirements", "ok", f"featherface asks for {count} packages")
    found = "featherface itself is not installed, so what it needs is not known"
    return Finding("packages", "requirements", "warn", found, how_to_install(options="-e"))


def torchvision(options: DoctorOptions) -> Finding:
    """torchvision is not needed, but torch's exporter imports it where it is there, and trips over a broken one."""
    name, version = installed("torchvision")
    if version is None:
        return Finding("packages", "torchvision", "skip", "not installed, and not needed")
    problem = options.imports.of("torchvision").problem
    if problem:
        fix = f"pip uninstall -y {name} (nothing here needs it), or take the one made for this torch"
        return Finding("packages", "torchvision", "warn", f"{version} does not import: {problem}", fix)
    return Finding("packages", "torchvision", "ok", f"{version}, not needed")


def optional(options: DoctorOptions) -> Finding:
    """Packages that only add something."""
    versions = {name: installed(name)[1] for name in OPTIONAL}
    has = [f"{name} {version}" for name, version in versions.items() if version]
    lacks = [name for name, version in versions.items() if not version]
    fix = f"if you want them: {how_to_install(' '.join(lacks))}" if lacks else ""
    found = ", ".join(has + [f"{name} not installed" for name in lacks])
    return Finding("packages", "optional", "ok" if has else "skip", found, fix)


def providers(options: DoctorOptions) -> Finding:
    """What onnxruntime can run on."""
    imported = options.imports.of("onnxruntime")
    names = imported.facts.get("providers", [])
    if "CPUExecutionProvider" not in names:
        found = imported.facts_problem or f"no CPU provider among: {', '.join(names) or 'none'}"
        return Finding("packages", "providers", "fail", found, how_to_install("onnxruntime", "--force-reinstall"))
    return Finding("packages", "providers", "ok", ", ".join(names))


def cuda(options: DoctorOptions) -> Finding:
    """Whether torch can use a GPU, and whether there is one that it cannot use."""
    imported = options.imports.of("torch")
    if imported.facts_problem:
        found = f"torch cannot tell: {imported.facts_problem}"
        return Finding("packages", "cuda", "fail", found, "check the driver with: nvidia-smi; or use --device cpu")
    build, devices = imported.facts["gpu_build"], imported.facts["devices"]
    if devices:
        return Finding("packages", "cuda", "ok", f"{build}: {', '.join(devices)}")
    if imported.facts["mps"]:
        return Finding("packages", "cuda", "ok", "no CUDA; Apple's GPU can be used: --device mps")
    gpus = _nvidia_smi()
    if gpus is None:
        return Finding("packages", "cuda", "ok", "no NVIDIA GPU; all runs on the CPU")
    if build is None:
        found = f"torch is built for the CPU alone, beside nvidia-smi: {gpus}"
        return Finding("packages", "cuda", "warn", found, how_to_install("torch (the CUDA build)", "--force-reinstall"))
    found = f"torch is built for {build} but finds no GPU; nvidia-smi: {gpus}"
    return Finding("packages", "cuda", "warn", found, "update the NVIDIA driver, and check CUDA_VISIBLE_DEVICES")


def _nvidia_smi() -> str | None:
    """What nvidia-smi lists, in one line; None where there is no nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    try:
        done = subprocess.run([program, "-L"], capture_output=True, timeout=20, check=False, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as problem:
        return f"does not run ({problem})"
    lines = (done.stdout or done.stderr).strip().splitlines()
    return "; ".join(line.partition(" (UUID")[0] for line in lines) or f"lists no GPU (code {done.returncode})"
