"""A kill for want of memory is told from other kills by the kernel's own counters, of either version of cgroups."""

from __future__ import annotations

from pathlib import Path

from hora.launch.memory import OutOfMemory

NOBODY = "by somebody: the kernel counts no kill for want of memory"


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_kill_in_the_cgroup_is_told_once_with_the_nearest_limit(tmp_path: Path) -> None:
    job = "sys/fs/cgroup/user/job"
    files = {
        "proc/self/cgroup": "0::/user/job\n",
        "proc/vmstat": "pgfault 5\noom_kill 9\n",
        f"{job}/memory.events": "oom 0\noom_kill 3\noom_group_kill 0\n",
        f"{job}/memory.max": "max\n",
        "sys/fs/cgroup/user/memory.max": f"{2 * 2**30}\n",
    }
    memory = OutOfMemory(write(tmp_path, files))
    assert memory.explain() == NOBODY
    write(tmp_path, {"proc/vmstat": "oom_kill 10\n"})
    assert memory.explain() == NOBODY, "another job's process"
    write(tmp_path, {f"{job}/memory.events": "oom 1\noom_kill 4\noom_group_kill 0\n"})
    assert memory.explain() == "by the kernel: out of memory; the cgroup's limit is 2 GiB"
    assert memory.explain() == NOBODY, "the same kill explains no later failure"


def test_version_1_in_a_container_that_names_the_hosts_path(tmp_path: Path) -> None:
    memory = "sys/fs/cgroup/memory"
    files = {
        "proc/self/cgroup": "4:memory:/docker/abc\n3:cpuset:/\n0::/\n",
        f"{memory}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
        f"{memory}/memory.limit_in_bytes": f"{512 * 2**20}\n",
    }
    watched = OutOfMemory(write(tmp_path, files))
    write(tmp_path, {f"{memory}/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"})
    assert watched.explain() == "by the kernel: out of memory; the cgroup's limit is 512 MiB"


def test_without_a_limit_none_is_named(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:memory:/\n",
        "sys/fs/cgroup/memory/memory.oom_control": "oom_kill 0\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    }
    memory = OutOfMemory(write(tmp_path, files))
    write(tmp_path, {"sys/fs/cgroup/memory/memory.oom_control": "oom_kill 1\n"})
    assert memory.explain() == "by the kernel: out of memory"


def test_the_hosts_count_says_only_that_some_process_was_killed(tmp_path: Path) -> None:
    memory = OutOfMemory(write(tmp_path, {"proc/vmstat": "oom_kill 1\n"}))
    write(tmp_path, {"proc/vmstat": "oom_kill 2\n"})
    assert memory.explain() == "the kernel killed a process of this host meanwhile: out of memory"


def test_a_system_without_counters_explains_nothing(tmp_path: Path) -> None:
    assert OutOfMemory(tmp_path).explain() is None
