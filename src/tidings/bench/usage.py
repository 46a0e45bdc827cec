"""What processes use, from /proc. On systems without it there is nothing to tell, and nothing is told."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
# Places in /proc/<pid>/stat after the command's name (proc(5)): parent, own and reaped children's time.
_PARENT, _USER, _SYSTEM, _CHILD_USER, _CHILD_SYSTEM = 1, 11, 12, 13, 14


def cpu_s(pid: int) -> float:
    """CPU seconds that the process itself has used so far, all threads."""
    fields = _stat(pid)
    return (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS_PER_S if fields else 0.0


def family_cpu_s(pid: int) -> float:
    """CPU seconds of all descendants of the process, without itself; those that have ended included."""
    ticks = 0
    for one in family(pid):
        fields = _stat(one)
        if fields:
            ticks += sum(int(fields[i]) for i in (_USER, _SYSTEM, _CHILD_USER, _CHILD_SYSTEM))
    return ticks / _TICKS_PER_S


def family(pid: int) -> list[int]:
    """The children of the process, their children, and so on."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        fields = _stat(int(folder.name))
        if fields:
            children.setdefault(int(fields[_PARENT]), []).append(int(folder.name))
    found = list(children.get(pid, ()))
    for one in found:  # grows while it is read
        found += children.get(one, ())
    return found


def memory_bytes(pid: int) -> int:
    """Resident memory of the process; 0 when it can't be told."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def most_memory_bytes(pid: int) -> int:
    """The most resident memory that the process ever had; 0 when it can't be told (proc(5), VmHWM in kB)."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(sizes[0]) * 1024 if sizes else 0


def _stat(pid: int) -> list[str]:
    try:
        # The name stands in brackets and may hold anything, brackets too.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
