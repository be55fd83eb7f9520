"""Which system calls a jailed program may make: tables, each line with its reason.

The default profile is an allow-list. What it does not name gets ENOSYS, as from an older kernel, so that libc and
runtimes fall back; what it names as refused gets EPERM, so that a program sees a policy and not a missing feature.
Names are resolved for each architecture by libseccomp; a name that an architecture lacks is skipped.
"""

from __future__ import annotations

from pyjail._base.records import NamedTuple

# ---- allowed, in groups: reason -> names ----

ALLOWED: dict[str, str] = {
    "memory": "brk munmap mprotect mremap mincore mlock mlock2 munlock mlockall munlockall "
    "membarrier pkey_alloc pkey_free pkey_mprotect get_mempolicy map_shadow_stack mseal",
    "files by fd": "read write readv writev pread64 pwrite64 preadv pwritev pwritev2 lseek close close_range "
    "fstat fstatfs ftruncate fallocate flock dup dup2 dup3 "
    "getdents getdents64 fchmod fchown fgetxattr fsetxattr flistxattr fremovexattr splice tee vmsplice sendfile "
    "copy_file_range readahead pipe pipe2",
    "files by path, inside the jail's own root": "open openat openat2 creat access faccessat faccessat2 stat lstat "
    "newfstatat statx statfs readlink readlinkat truncate mkdir mkdirat rmdir unlink unlinkat rename renameat "
    "renameat2 link linkat symlink symlinkat chmod fchmodat fchmodat2 chown lchown fchownat utime utimes utimensat "
    "futimesat mknod mknodat getxattr lgetxattr setxattr lsetxattr listxattr llistxattr removexattr lremovexattr "
    "chdir fchdir getcwd umask",
    "waiting": "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait "
    "epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime "
    "timerfd_gettime",
    "processes of its own pid namespace": "fork vfork execve execveat exit exit_group wait4 waitid getpid getppid "
    "gettid getpgrp getpgid setpgid getsid setsid kill tkill tgkill pidfd_open pidfd_send_signal "
    "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigsuspend rt_sigpending rt_sigtimedwait rt_sigqueueinfo "
    "rt_tgsigqueueinfo sigaltstack pause restart_syscall set_tid_address set_robust_list get_robust_list futex "
    "futex_waitv futex_wake futex_wait futex_requeue rseq arch_prctl",
    "scheduling within its cgroup": "sched_yield sched_getparam sched_getscheduler sched_get_priority_max "
    "sched_get_priority_min sched_rr_get_interval sched_getattr sched_getaffinity sched_setaffinity getpriority "
    "setpriority ioprio_get getcpu sched_setscheduler sched_setparam sched_setattr",
    "ids: all are the jail's own, capabilities are gone": "getuid geteuid getgid getegid getresuid getresgid getgroups "
    "setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capget capset",
    "time": "time gettimeofday clock_getres nanosleep alarm getitimer setitimer times "
    "timer_settime timer_gettime timer_getoverrun timer_delete",
    "the system, read only": "uname sysinfo getrlimit getrusage getrandom",
    "SysV and POSIX IPC, in an ipc namespace of the run": "shmat shmdt shmctl semget semop semtimedop semctl "
    "msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr",
    "sockets: the network namespace has nothing in it": "bind connect listen accept accept4 getsockname "
    "getpeername sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shutdown",
    "sandboxing itself further": "landlock_create_ruleset landlock_add_rule landlock_restrict_self",
}

# ---- refused with EPERM: name(s) -> reason ----

REFUSED: dict[str, str] = {
    "unshare setns": "nested namespaces open kernel surface that most local privilege escalations needed",
    "mount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick "
    "mount_setattr statmount listmount": "the mount API, old and new (CVE-2022-0185 was in fsconfig)",
    "bpf": "CVE-2020-8835, CVE-2021-3490; bpffs is not namespaced",
    "perf_event_open": "kernel addresses, counters of others",
    "userfaultfd": "holds kernel threads at a chosen instant: an exploitation aid",
    "io_uring_setup io_uring_enter io_uring_register": "works around this very filter (CVE-2022-29582, CVE-2023-2598)",
    "keyctl add_key request_key": "keyrings are not namespaced by pid or ipc (CVE-2016-0728)",
    "kexec_load kexec_file_load reboot": "the machine's own",
    "init_module finit_module delete_module create_module query_module get_kernel_syms": "kernel modules",
    "swapon swapoff quotactl quotactl_fd acct sethostname setdomainname nfsservctl": "the machine's own",
    "settimeofday adjtimex clock_adjtime clock_settime stime": "the machine's clock",
    "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease kcmp pidfd_getfd":
    "reach into other processes",
    "open_by_handle_at name_to_handle_at": 'the "shocker" escape: files by number, outside every root',
    "modify_ldt iopl ioperm vm86 vm86old": "x86 relics with a history of exploits",
    "syslog": "the kernel's log",
    "sync syncfs": "the host's disks: all that others have written, and no signal ends the wait",
    "lookup_dcookie uselib ustat sysfs _sysctl vhangup": "obsolete",
    "mbind set_mempolicy set_mempolicy_home_node migrate_pages move_pages": "memory placement on others' nodes",
    "fanotify_init fanotify_mark inotify_init inotify_init1 inotify_add_watch inotify_rm_watch":
    "tell what the host and other jails do with shared files",
    "seccomp": "compiled filters are kernel memory that no cgroup is charged for, out of one pool for the machine",
    "ioprio_set": "I/O priority across processes",
    "remap_file_pages": "CVE-laden, emulated; nothing uses it",
    "memfd_secret": "memory that the kernel itself cannot look at",
    "lsm_set_self_attr lsm_get_self_attr lsm_list_modules": "security modules' state",
}  # fmt: skip

# ---- answered with 0 and not carried out, where nothing on a disk can be written: a tmpfs is all memory ----

FLUSH = "flushes the disk below a file that is only read, for whoever reads it; no signal ends the wait"
NOOP: dict[str, str] = {"fsync fdatasync sync_file_range": FLUSH}

# ---- ENOSYS on purpose: libc falls back to the older call, whose flags a filter can see ----

MISSING: dict[str, str] = {
    "clone3": "its flags lie behind a pointer; with ENOSYS glibc and musl use clone",
    "cachestat": "whether others have read a shared file, before Linux 6.15 for everyone",
}

# ---- numbers that an older libseccomp lacks; from 424 on they are the same on every architecture ----

YOUNG: dict[str, int] = {
    "futex_waitv": 449, "set_mempolicy_home_node": 450, "cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453,
    "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456, "statmount": 457, "listmount": 458,
    "lsm_get_self_attr": 459, "lsm_set_self_attr": 460, "lsm_list_modules": 461, "mseal": 462, "open_tree_attr": 467,
}  # fmt: skip

# ---- what else is knowingly allowed, and why ----

KNOWINGLY = (
    (
        "flock, fcntl locks",
        "SQLite and the JVM need them; on shared files they can signal to another jail (docs/adr/0005)",
    ),
    ("mknod", "no device can be made without capabilities, and every writable mount is nodev"),
    ("sched_setscheduler", "real-time and deadline classes need CAP_SYS_NICE; SCHED_BATCH and SCHED_IDLE do not"),
)


# With a handler in core_pattern the kernel starts it on the host, as root, for any soft limit but exactly 1 (core(5)):
# that one the jail sets, and a lower one would be allowed.
CORE = "RLIMIT_CORE: at 0 a piped core_pattern starts the host's handler"
RLIMIT_CORE = 4
ALL64 = 0xFFFFFFFFFFFFFFFF
DONTNEED = 4  # POSIX_FADV_DONTNEED


class ArgRule(NamedTuple):
    """A call whose arguments decide; the first rule of a name that fits wins. ``tests``: (argument, value, mask),
    fits when the low 32 bits of the argument, masked, equal the value: the kernel reads these arguments as int,
    so garbage in the high half must not matter."""

    name: str
    action: str  # "allow" | "kill" | "noop" | the name of an errno
    tests: tuple[tuple[int, int, int], ...]
    why: str


NEW_NAMESPACES = 0x7E020080  # CLONE_NEW{TIME,NS,CGROUP,UTS,IPC,USER,PID,NET}
CLONE_UNTRACED = 0x00800000
UNTRACED = "a child that `pyjail.learn` would not see; no way out of a jail"
LOW32 = 0xFFFFFFFF
F_NOTIFY, F_SETLEASE, F_GETLK, F_OFD_GETLK = 1026, 1024, 5, 36  # asm-generic: x86_64 and aarch64
F_SETLKS = (6, 7, 37, 38)  # F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW
RWF_NOWAIT = 8
MS_SYNC = 4
CLOCKS_OF_PID_1 = ~1 << 3 & LOW32  # clock_getcpuclockid(3): the low bits tell which
MULTICAST = "IPV6_ADD_MEMBERSHIP, ...: up to optmem_max for each socket that no cgroup is charged for"

ARGUMENTS: tuple[ArgRule, ...] = (
    ArgRule("clone", "EPERM", ((0, CLONE_UNTRACED, CLONE_UNTRACED),), UNTRACED),
    ArgRule("clone", "allow", ((0, 0, NEW_NAMESPACES),), "threads and processes, no new namespaces"),
    ArgRule("clone", "EPERM", (), "any CLONE_NEW* flag: nested namespaces, as with unshare"),
    ArgRule("socket", "allow", ((0, 1, LOW32),), "AF_UNIX"),
    *(
        ArgRule("socket", "allow", ((0, family, LOW32), (1, kind, 0xF), (2, protocol, LOW32)), name)
        for family, name in ((2, "AF_INET"), (10, "AF_INET6"))
        for kind, protocols in ((1, (0, 6)), (2, (0, 17)))  # SOCK_STREAM: TCP; SOCK_DGRAM: UDP
        for protocol in protocols
    ),
    ArgRule("socketpair", "allow", ((0, 1, LOW32),), "AF_UNIX"),
    ArgRule("socketpair", "EAFNOSUPPORT", (), "runs a family's own code, and loads its module, before it says no"),
    ArgRule("socket", "EAFNOSUPPORT", (), "netlink, packet, vsock, alg, SCTP, MPTCP, raw, ...: rarely needed surface"),
    *(
        ArgRule("setsockopt", "EPERM", ((1, level, LOW32), (2, option, LOW32)), why)
        for level, option, why in (
            (1, 26, "SO_ATTACH_FILTER: compiled filters are kernel memory that no cgroup is charged for"),
            (1, 50, "SO_ATTACH_BPF"),
            (1, 51, "SO_ATTACH_REUSEPORT_CBPF, as SO_ATTACH_FILTER"),
            (1, 52, "SO_ATTACH_REUSEPORT_EBPF"),
            (6, 31, "TCP_ULP loads kernel modules"),
            (6, 14, "TCP_MD5SIG: keys are kernel memory that no cgroup is charged for"),
            (41, 32, "IPV6_FLOWLABEL_MGR: labels come from one pool for the machine and outlive the run"),
        )
    ),
    ArgRule("setsockopt", "EPERM", ((1, 6, LOW32), (2, 32, 32)), "TCP_MD5SIG_EXT, TCP_AO_ADD_KEY, ...: as TCP_MD5SIG"),
    *(
        ArgRule("setsockopt", "EPERM", ((1, level, LOW32), (2, option, LOW32 & ~within)), MULTICAST)
        for level, option, within in ((0, 35, 4), (0, 42, 4), (41, 20, 0), (41, 42, 4))  # all that join
    ),
    ArgRule("setsockopt", "allow", (), "everything else acts on a socket that the jail has"),
    *(
        ArgRule("getsockopt", "EPERM", ((1, 1, LOW32), (2, option, LOW32)), f"{name}: counts for the machine")
        for option, name in ((57, "SO_COOKIE"), (71, "SO_NETNS_COOKIE"))
    ),
    ArgRule("getsockopt", "allow", (), "everything else tells of a socket that the jail has"),
    ArgRule("prctl", "EPERM", ((0, 22, LOW32),), "PR_SET_SECCOMP, as seccomp"),
    ArgRule("prctl", "EINVAL", ((0, 0x53564D41, LOW32),), "PR_SET_VMA: names are memory that no cgroup is charged for"),
    ArgRule("prctl", "EINVAL", ((0, 62, LOW32),), "PR_SCHED_CORE keeps others from the other threads of a core"),
    ArgRule("prctl", "allow", (), "acts on the caller; what needs capabilities finds none"),
    ArgRule("msync", "noop", ((2, MS_SYNC, MS_SYNC),), FLUSH),
    ArgRule("msync", "allow", (), "whether memory is mapped"),
    ArgRule(
        "madvise", "EINVAL", ((2, 12, LOW32),), "MADV_MERGEABLE: merged pages tell what others have in memory (KSM)"
    ),
    ArgRule("madvise", "EINVAL", ((2, 25, LOW32),), "MADV_COLLAPSE changes the page cache of shared files"),
    ArgRule("madvise", "allow", (), "advice on its own memory"),
    ArgRule("mmap", "allow", ((3, 0, 0x40000),), "all memory that a cgroup is charged for"),
    ArgRule("mmap", "ENOMEM", (), "MAP_HUGETLB: reserved huge pages are outside of the memory controller"),
    ArgRule("memfd_create", "allow", ((1, 0, 4),), "all but"),
    ArgRule("memfd_create", "ENOMEM", (), "MFD_HUGETLB"),
    ArgRule("shmget", "allow", ((2, 0, 0o4000),), "all but"),
    ArgRule("shmget", "ENOMEM", (), "SHM_HUGETLB"),
    ArgRule("ioctl", "EPERM", ((1, 0x5412, LOW32),), "TIOCSTI types on the caller's terminal (CVE-2017-5226)"),
    ArgRule("ioctl", "EPERM", ((1, 0x541C, LOW32),), "TIOCLINUX pastes into a console"),
    ArgRule("ioctl", "EPERM", ((1, 0x5423, LOW32),), "TIOCSETD loads line disciplines"),
    ArgRule(
        "ioctl", "allow", ((1, 0x5400, 0xFF00),), "terminals, FIONREAD, FIONBIO, FIOCLEX: act on fds that the jail has"
    ),
    ArgRule("ioctl", "allow", ((1, 0x8900, ~0x3F & LOW32),), "a socket's owner and mark, its namespace's interfaces"),
    ArgRule("ioctl", "allow", ((1, 0x40049409, LOW32),), "FICLONE: copies"),
    ArgRule(
        "ioctl",
        "ENOTTY",
        (),
        "modprobe (SIOCGIFBR, SIOCGIFVLAN), a flush (btrfs), UUIDs, places on the disk, cgroup ids",
    ),
    ArgRule("preadv2", "EOPNOTSUPP", ((5, RWF_NOWAIT, RWF_NOWAIT),), "tells whether others have read a shared file"),
    ArgRule("preadv2", "allow", (), "as preadv"),
    ArgRule("personality", "allow", ((0, 0xFFFFFFFF, LOW32),), "asking"),
    ArgRule("personality", "allow", ((0, 0, LOW32),), "PER_LINUX"),
    ArgRule("personality", "allow", ((0, 0x40000, LOW32),), "ADDR_NO_RANDOMIZE, of the program itself"),
    ArgRule("personality", "EPERM", (), "READ_IMPLIES_EXEC, MMAP_PAGE_ZERO, ... weaken the program's own defences"),
    ArgRule(
        "fadvise64", "EPERM", ((3, DONTNEED, LOW32),), "empties the page cache of shared files, a signal to others"
    ),
    ArgRule("fadvise64", "allow", (), "advice on its own reading"),
    ArgRule("setrlimit", "EPERM", ((0, RLIMIT_CORE, LOW32),), CORE),
    ArgRule("setrlimit", "allow", (), "limits can only be lowered without CAP_SYS_RESOURCE"),
    ArgRule("prlimit64", "allow", ((0, 0, LOW32), (1, RLIMIT_CORE, LOW32), (2, 0, ALL64)), "asking"),
    ArgRule("prlimit64", "EPERM", ((1, RLIMIT_CORE, LOW32),), CORE),
    ArgRule("prlimit64", "allow", ((0, 0, LOW32),), "its own limits"),
    ArgRule("prlimit64", "EPERM", (), "of another process: the keeper may have the same uid (single mapping)"),
    *(
        rule
        for name in ("clock_gettime", "clock_nanosleep", "timer_create")
        for rule in (
            ArgRule(
                name, "EINVAL", ((0, CLOCKS_OF_PID_1, 0xFFFFFFF8),), "the keeper's CPU clock tells of earlier runs"
            ),
            ArgRule(name, "allow", (), "no other clock of another process is in reach"),
        )
    ),
    ArgRule("fcntl", "EPERM", ((1, F_SETLEASE, LOW32),), "a lease on a shared file delays others' open()"),
    ArgRule("fcntl", "EPERM", ((1, F_NOTIFY, LOW32),), "dnotify tells what others do"),
    ArgRule(  # F_SET_RW_HINT and, with the bit, F_SET_FILE_RW_HINT
        "fcntl", "EINVAL", ((1, 1036, LOW32 & ~2),), "a write hint stays on a shared inode, for the next run to read"
    ),
    ArgRule("fcntl", "allow", (), "everything else acts on fds that the jail has"),
)

# ---- the strict profile: compute, read stdin, write stdout ----

STRICT_AS_ABOVE = (
    "ioctl",
    "fcntl",
    "prlimit64",
    "madvise",
    "mmap",
    "clock_gettime",
    "clock_nanosleep",
)  # by the rules of the default profile, too
STRICT: dict[str, str] = {
    "start and end": "execve exit exit_group arch_prctl set_tid_address set_robust_list rseq prlimit64 getrandom "
    "rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack uname restart_syscall",
    "memory": "brk mmap munmap mprotect mremap madvise",
    "files, read only by the mounts and Landlock": "read readv pread64 write writev pwrite64 lseek close fstat "
    "newfstatat stat lstat statx open openat access faccessat faccessat2 readlink readlinkat getcwd dup dup2 fcntl "
    "ioctl getdents64 poll",
    "time and itself": "clock_gettime clock_getres gettimeofday time times getrusage clock_nanosleep nanosleep getpid "
    "gettid getppid getuid geteuid getgid getegid sched_yield sched_getaffinity sysinfo futex tgkill",
}
# What libc probes and does without: ENOSYS instead of the end.
STRICT_ARGUMENTS: tuple[ArgRule, ...] = (
    ArgRule("fcntl", "EINVAL", ((1, F_GETLK, LOW32),), "sees read locks of other jails on shared files"),
    ArgRule("fcntl", "EINVAL", ((1, F_OFD_GETLK, LOW32),), "as F_GETLK"),
    *(
        ArgRule(
            "fcntl", "ENOLCK", ((1, command, LOW32),), "record locks are kernel memory that no cgroup is charged for"
        )
        for command in F_SETLKS
    ),
)
STRICT_MISSING = "clone3 membarrier pidfd_open statmount landlock_create_ruleset io_uring_setup"

# ---- what the program's process does between the go and execve (csrc/program.c, program_start) ----
# It has the keeper's pass (docs/adr/0011), so these are rules for the program: a policy that takes from it what every
# start of a program needs is told so, before anything starts.

GLUE: tuple[ArgRule, ...] = (
    ArgRule("recvmsg", "allow", ((0, 3, LOW32),), "waits for the go on FD_GO"),
    ArgRule("openat", "allow", (), "looks at the program's header"),
    ArgRule("pread64", "allow", (), "reads it"),
    ArgRule("close", "allow", (), "closes it"),
    ArgRule("dup3", "allow", (), "puts the caller's fds on 0-2"),
    ArgRule("chdir", "allow", (), "cwd"),
    ArgRule("mmap", "allow", ((3, 0, 0x40000),), "argv and env"),
    ArgRule("prlimit64", "allow", ((0, 0, LOW32), (1, RLIMIT_CORE, LOW32), (2, 0, ALL64)), "reads them back"),
    ArgRule("prlimit64", "EPERM", ((1, RLIMIT_CORE, LOW32),), CORE),
    ArgRule("prlimit64", "allow", ((0, 0, LOW32),), "its own limits"),
    ArgRule("ioctl", "allow", ((1, 0x540E, LOW32),), "TIOCSCTTY: takes the terminal that it was given"),
    ArgRule("clock_gettime", "allow", (), "the start of the run"),
    ArgRule("rt_sigprocmask", "allow", (), "signals are the program's from here on"),
    ArgRule("execve", "allow", (), "becomes the program"),
    ArgRule("exit_group", "allow", (), "when that failed"),
)
# Arguments of theirs that are always the same: a rule about other ones does not reach the jail's own calls.
GLUE_ARGUMENTS: dict[str, dict[int, int]] = {
    "recvmsg": {0: 3},
    "openat": {0: (1 << 64) - 100, 2: 0x80800, 3: 0},  # AT_FDCWD, O_RDONLY | O_NONBLOCK | O_CLOEXEC
    "dup3": {2: 0},
    "mmap": {0: 0, 2: 3, 3: 0x22, 4: (1 << 64) - 1, 5: 0},  # PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS
    "prlimit64": {0: 0},
    "ioctl": {0: 0, 1: 0x540E, 2: 0},
}
