"""What processes have used, as the kernel counts it. Source: proc(5)."""

import os

TICKS = os.sysconf("SC_CLK_TCK")


# How often processes may end while they are looked at, before the look is taken as it is.
LOOKS_MAX = 10


def _stat(pid):
    """Parent, CPU seconds of its own, and of children that it has collected; None where it is gone."""
    try:
        with open("/proc/%s/stat" % pid) as file:
            fields = file.read().rsplit(") ", 1)[1].split(" ")
    except (OSError, IndexError):
        return None
    user, system, user_ended, system_ended = (int(field) / TICKS for field in fields[11:15])
    return int(fields[1]), user + system, user_ended + system_ended


def _stats():
    """All processes of the machine."""
    found = {int(name): _stat(name) for name in os.listdir("/proc") if name.isdigit()}
    return {pid: stat for pid, stat in found.items() if stat is not None}


def _family(pid, stats):
    """The living processes of a tree."""
    children = {}
    for one, stat in stats.items():
        children.setdefault(stat[0], []).append(one)
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        if one in stats:
            found.append(one)
            waiting.extend(children.get(one, []))
    return found


def cpu_seconds(pids):
    """CPU seconds of each process and of all that it has started, gone or not, at one moment."""
    # A session that ends between the looks at its parent and at itself would be in neither: then look again.
    for _ in range(LOOKS_MAX):
        stats = _stats()
        if all(pid in stats and (_stat(pid) or (0, 0, None))[2] == stats[pid][2] for pid in pids):
            break
    return [sum(sum(stats[one][1:]) for one in _family(pid, stats)) for pid in pids]


def reset_peak(pid):
    """Begins a new measurement of the peak of a tree; a kernel that cannot gives that of its whole life."""
    for one in _family(pid, _stats()):
        try:
            with open("/proc/%d/clear_refs" % one, "w") as file:
                file.write("5")
        except OSError:
            pass


def peak_bytes(pid):
    """The most resident bytes of a tree's living processes, each at its own peak."""
    total = 0
    for one in _family(pid, _stats()):
        try:
            with open("/proc/%d/status" % one) as file:
                total += sum(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) * 1024
        except OSError:
            pass
    return total


def busy_seconds():
    """CPU seconds of the whole machine, whoever used them."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:9]]
    user, nice, system, _idle, _wait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / TICKS


def describe():
    """The machine, for the record."""
    with open("/proc/cpuinfo") as file:
        names = [line.split(": ", 1)[1].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) // (1 << 20)
    return "%d cores, %s, %d GiB, Linux %s" % (
        os.cpu_count(), names[0] if names else "unknown", memory, os.uname().release)
