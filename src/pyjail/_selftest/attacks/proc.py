"""What /proc and /sys show and take."""

from __future__ import annotations

import contextlib
import os
import resource

from pyjail._selftest.attacks.toolkit import REFUSED, Scene, attack, call, note, opens, peek, quietly, show

OF_A_PROCESS = (
    "mem", "environ", "maps", "smaps", "pagemap", "exe", "root", "cwd", "fd", "fdinfo", "map_files", "auxv", "stack",
    "syscall", "io", "status", "stat", "cmdline", "cgroup", "mountinfo", "ns/mnt", "ns/pid", "ns/user", "ns/net",
    "task",
)  # fmt: skip


@attack("opens init's memory, environment, descriptors, root", "CVE-2019-5736, CVE-2016-9962", needs=("proc",))
def init(scene: Scene) -> None:
    opens(f"/proc/1/{name}" for name in OF_A_PROCESS)
    opens(("/proc/1/mem", "/proc/1/clear_refs", "/proc/1/oom_score_adj", "/proc/1/exe"), os.O_WRONLY, "write")


@attack("reads the environment and the memory of a process of the host", "secrets in environments", needs=("proc",))
def host_process(scene: Scene) -> None:
    for pid in (scene["pid"], scene["embedder"], scene["parent"]):
        for name in ("environ", "cmdline", "maps", "status", "root" + scene["canary"], "cwd"):
            peek(f"/proc/{pid}/{name}")
        with contextlib.suppress(OSError):
            fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
            show("mem", os.pread(fd, 256, scene["address"]))


@attack("lists all processes", "processes of other users and their secrets", needs=("proc",))
def list_processes(scene: Scene) -> None:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) != os.getpid():
            peek(f"/proc/{pid}/cmdline")
            peek(f"/proc/{pid}/environ")


@attack(
    "opens kernel settings for writing",
    "CVE-2025-52881; core_pattern and modprobe run as root on the host",
    needs=("proc",),
)
def settings(scene: Scene) -> None:
    opens(
        (f"/proc/sys/{name}" for name in (
            "kernel/core_pattern", "kernel/modprobe", "kernel/hostname", "kernel/sysrq", "kernel/randomize_va_space",
            "kernel/ns_last_pid", "kernel/shm_rmid_forced", "kernel/keys/maxkeys", "vm/overcommit_memory",
            "vm/drop_caches", "vm/mmap_min_addr", "fs/binfmt_misc/register", "fs/suid_dumpable",
            "fs/protected_symlinks", "net/ipv4/ip_forward", "net/ipv4/ip_unprivileged_port_start",
            "net/core/somaxconn", "user/max_user_namespaces", "debug/exception-trace",
        )), os.O_WRONLY, "write",
    )  # fmt: skip


@attack("presses the magic SysRq key", "echo b > /proc/sysrq-trigger reboots the machine", needs=("proc",))
def sysrq(scene: Scene) -> None:
    opens(("/proc/sysrq-trigger", "/proc/sys/kernel/sysrq"), os.O_WRONLY, "write")


@attack(
    "reads the kernel's memory, log, keys and addresses",
    "kcore, kmsg, keys, kallsyms: addresses and more",
    needs=("proc",),
)
def kernel_secrets(scene: Scene) -> None:
    opens(
        f"/proc/{name}" for name in ( "kcore", "kmsg", "keys", "key-users", "kallsyms", "timer_list", "sched_debug",
        "vmallocinfo", "slabinfo", "kpagecount", "kpageflags", "kpagecgroup", "iomem", "ioports", "interrupts",
        "modules", "config.gz", "cmdline", "latency_stats", "bus/pci/devices", "irq/0", "scsi/scsi", "acpi/wakeup",
        "mtrr", "diskstats", "partitions",
        )
    )  # fmt: skip


@attack("finds /sys", "/sys/firmware, security, debug; cgroup files")
def sysfs(scene: Scene) -> None:
    opens(("/sys/firmware", "/sys/kernel", "/sys/kernel/security", "/sys/kernel/debug", "/sys/fs/cgroup", "/sys/class",
           "/sys/power/state", "/sys/devices", "/sys/fs/bpf", "/sys/block"))  # fmt: skip
    opens(
        ("/sys/power/state", "/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled"),
        os.O_WRONLY,
        "write",
    )


@attack("changes what the kernel thinks of it", "oom_score_adj: the host's processes die first", needs=("proc",))
def own_settings(scene: Scene) -> None:
    opens(
        (f"/proc/self/{name}" for name in (
            "oom_score_adj", "oom_adj", "uid_map", "gid_map", "projid_map", "setgroups", "loginuid", "sessionid",
            "coredump_filter", "timens_offsets", "attr/current", "attr/exec", "autogroup", "make-it-fail",
        )), os.O_WRONLY, "write",
    )  # fmt: skip


@attack("unmounts or covers /proc", "CVE-2019-19921: a /proc that is no procfs", errnos=REFUSED, needs=("proc",))
def cover(scene: Scene) -> None:
    call("umount2", b"/proc\0", 2)
    call("mount", b"none\0", b"/proc\0", b"tmpfs\0", 0, None)
    call("mount", b"/\0", b"/proc\0", None, 4096, None, label="mount(MS_BIND)")


@attack("finds variables of the caller's environment", "tokens in the environment of the judge", environment=True)
def environment(scene: Scene) -> None:
    del scene
    with contextlib.suppress(OSError):
        with open("/proc/self/environ", "rb") as f:
            show("environment", f.read())
    show("os.environ", b"\0".join(k + b"=" + v for k, v in os.environb.items()))


@attack("has a core handler of the host run", "core_pattern=|/x/y runs as root, outside", exits_by=6)
def core_handler(scene: Scene) -> None:
    del scene
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    note("core files may be larger than a byte", 0 if hard not in (0, 1) else -1, 1)
    quietly("prctl", 4, 1, 0, 0, 0)
    os.abort()
