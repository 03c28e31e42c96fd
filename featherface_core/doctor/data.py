"""Group ``data``: a data set's labels and pictures, by the same look as ``featherface data check``."""

from featherface_core.doctor.check import DoctorOptions
from featherface_core.events import ignore
from featherface_core.results import Finding
from featherface_core.wording import counted

EXAMPLES = 2  # of a kind of problem; `featherface data check` shows more


def data(options: DoctorOptions) -> Finding | list[Finding]:
    """Check the folder: what it holds, and a finding for each kind of problem. Raises DataError where it holds no data."""
    if options.data is None:
        return Finding("data", "data", "skip", "no folder was named", "featherface doctor --data DIR")
    from featherface_core.data.check import check_data

    report = check_data(options.data, ignore, pictures=True)
    sets = [
        f"{s.name}: {s.form}, {counted(s.pictures, 'picture')}, {counted(s.faces, 'face')}, "
        f"{s.with_landmarks:,} with landmarks"
        for s in report.sets
    ]
    opened = f"{counted(report.decoded, 'picture')} opened in {report.seconds:.1f} s"
    findings = [Finding("data", "data", "ok", "; ".join((*sets, opened)))]
    for group in report.problems:
        found = f"{group.kind} x {group.count:,}: " + "; ".join(group.examples[:EXAMPLES])
        findings.append(Finding("data", "data", "fail" if group.severity == "error" else "warn", found, group.fix))
    return findings
