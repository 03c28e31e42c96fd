"""Group ``machine``: Python, system, processor, memory, disk."""

import os
import platform
import shutil
import tempfile
from importlib import metadata
from pathlib import Path

from featherface_core.doctor.finding import DoctorOptions
from featherface_core.doctor.packages import meets
from featherface_core.errors import DataError
from featherface_core.files import make_folder
from featherface_core.machine import how_to_install
from featherface_core.results import Finding

CPUINFO = Path("/proc/cpuinfo")
MEMINFO = Path("/proc/meminfo")
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")
FEATURES = {  # as Linux names them, on x86 and on ARM
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_vnni": "AVX-512 VNNI",
    "avx_vnni": "AVX VNNI",
    "amx_int8": "AMX int8",
    "neon": "NEON",
    "asimd": "NEON",
    "asimddp": "NEON dot product",
    "i8mm": "int8 matrix",
    "sve": "SVE",
}
GIB = 2**30
LOW_MEMORY = LOW_DISK = 1 * GIB  # an export takes about half of it


def python(options: DoctorOptions) -> Finding:
    """The Python that runs, against the version that the distribution asks for."""
    version = platform.python_version()
    try:
        wanted = metadata.metadata("featherface")["Requires-Python"] or ">=3.11"
    except metadata.PackageNotFoundError:
        wanted = ">=3.11"
    found = f"{platform.python_implementation()} {version}, needs {wanted}"
    fitting = meets(version, wanted)
    if fitting is None:
        return Finding("machine", "python", "skip", f"{found}: not compared", how_to_install("packaging"))
    if not fitting:
        return Finding("machine", "python", "fail", found, f"install a Python {wanted}, and featherface into it")
    return Finding("machine", "python", "ok", found)


def system(options: DoctorOptions) -> Finding:
    """The operating system and the kind of machine."""
    return Finding("machine", "system", "ok", f"{platform.platform()}, {platform.machine()}")


def cpu(options: DoctorOptions) -> Finding:
    """The processor's model, and the features that decide how fast networks run. Known on Linux alone."""
    if not CPUINFO.is_file():
        name = platform.processor() or platform.machine()
        return Finding("machine", "cpu", "skip", f"{name}: its features can be read on Linux alone")
    values = _colon_lines(CPUINFO.read_text(errors="replace"))
    model = values.get("model name") or values.get("Model") or platform.machine()
    flags = (values.get("flags") or values.get("Features") or "").split()
    has = list(dict.fromkeys(name for flag, name in FEATURES.items() if flag in flags))
    found = f"{model}: {', '.join(has) or 'no vector features known here'}"
    if "flags" in values and "avx2" not in flags:
        fix = "results are the same, but slow: take a processor with AVX2 where speed matters"
        return Finding("machine", "cpu", "warn", f"{found} (no AVX2)", fix)
    return Finding("machine", "cpu", "ok", found)


def cores(options: DoctorOptions) -> Finding:
    """The cores that this process may use, and the threads that torch takes."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = options.imports.of("torch").facts.get("threads")
    found = f"{usable} usable of {os.cpu_count()}, torch threads: {threads or 'not known'}"
    if threads and threads > usable:
        fix = f"set OMP_NUM_THREADS={usable}: more threads than cores slow each other down"
        return Finding("machine", "cores", "warn", found, fix)
    return Finding("machine", "cores", "ok", found)


def memory(options: DoctorOptions) -> Finding:
    """Memory in all and available, under a container's limit where there is one."""
    if MEMINFO.is_file():
        values = _colon_lines(MEMINFO.read_text())
        total, free = (int(values[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return Finding("machine", "memory", "ok", f"{_size(total)} in all, available: not known on this system")
    else:
        return Finding("machine", "memory", "skip", "cannot be read on this system")
    found = ""
    if CONTAINER_LIMIT.is_file() and (limit := CONTAINER_LIMIT.read_text().strip()).isdigit():
        total, free = min(total, int(limit)), min(free, int(limit))
        found = f", at most {_size(int(limit))} for this container"
    found = f"{_size(free)} available of {_size(total)}{found}"
    if free < LOW_MEMORY:
        fix = "close other programs; use a smaller --size and --batch 1"
        return Finding("machine", "memory", "warn", found, fix)
    return Finding("machine", "memory", "ok", found)


def disk(options: DoctorOptions) -> list[Finding]:
    """Free space in the current folder and in the folder for temporary files."""
    findings = [_free("current folder", ".")]
    try:
        findings.append(_free("temporary folder", tempfile.gettempdir()))
    except OSError as problem:
        fix = "set TMPDIR to a folder that you may write to"
        findings.append(Finding("machine", "disk", "fail", f"no temporary folder: {problem}", fix))
    return findings


def _free(name: str, folder: str) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as problem:
        return Finding("machine", "disk", "fail", f"{name}: {problem}", "change to a folder that exists")
    found = f"{name}: {_size(free)} free"
    if free < LOW_DISK:
        return Finding("machine", "disk", "warn", found, f"free some space, {_size(LOW_DISK)} or more")
    return Finding("machine", "disk", "ok", found)


def writable(options: DoctorOptions) -> Finding:
    """Whether results can be written into the current folder."""
    try:
        make_folder(Path())
    except DataError as problem:
        fix = "change to a folder that you may write to, or name one for each output"
        return Finding("machine", "writable", "warn", problem.message, fix)
    return Finding("machine", "writable", "ok", "files can be written into the current folder")


def _colon_lines(text: str) -> dict[str, str]:
    """The first value of each ``key : value`` line."""
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip(), value.strip())
    return values


def _size(size: int) -> str:
    return f"{size / GIB:.1f} GiB"
