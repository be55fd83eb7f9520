"""Numbers of the system calls that attempts make without libc: (x86_64, aarch64), -1 where there is none."""

from __future__ import annotations

import os

_BOTH: dict[str, tuple[int, int]] = {
    "acct": (163, 89), "add_key": (248, 217), "adjtimex": (159, 171), "bpf": (321, 280), "cachestat": (451, 451),
    "capset": (126, 91), "chroot": (161, 51), "clock_adjtime": (305, 266), "clock_settime": (227, 112),
    "clone": (56, 220), "clone3": (435, 435), "delete_module": (176, 106), "exit": (60, 93),
    "fanotify_init": (300, 262), "fcntl": (72, 25), "fdatasync": (75, 83),
    "finit_module": (313, 273), "flock": (73, 32),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fsopen": (430, 430), "fspick": (433, 433), "fsync": (74, 82),
    "getpid": (39, 172), "getsockopt": (55, 209),
    "init_module": (175, 105), "inotify_init1": (294, 26), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "io_uring_setup": (425, 425), "ioctl": (16, 29), "ioperm": (173, -1),
    "iopl": (172, -1), "ioprio_set": (251, 30), "kcmp": (312, 272), "kexec_file_load": (320, 294),
    "kexec_load": (246, 104), "keyctl": (250, 219), "listmount": (458, 458), "lookup_dcookie": (212, 18),
    "lsm_get_self_attr": (459, 459), "lsm_list_modules": (461, 461), "lsm_set_self_attr": (460, 460),
    "madvise": (28, 233),
    "mbind": (237, 235), "memfd_create": (319, 279), "memfd_secret": (447, 447), "migrate_pages": (256, 238),
    "mmap": (9, 222), "modify_ldt": (154, -1), "mount": (165, 40), "mount_setattr": (442, 442),
    "move_mount": (429, 429), "move_pages": (279, 239), "mq_open": (240, 180), "mq_timedreceive": (243, 183),
    "mq_timedsend": (242, 182), "mq_unlink": (241, 181), "msgctl": (71, 187), "msgget": (68, 186),
    "msgrcv": (70, 188), "msgsnd": (69, 189), "msync": (26, 227),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "perf_event_open": (298, 241), "personality": (135, 92), "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434), "pidfd_send_signal": (424, 424), "pivot_root": (155, 41), "prctl": (157, 167),
    "preadv2": (327, 286), "prlimit64": (302, 261), "process_madvise": (440, 440), "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "ptrace": (101, 117), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "reboot": (169, 142), "remap_file_pages": (216, 234), "request_key": (249, 218),
    "rt_sigqueueinfo": (129, 138), "sched_setattr": (314, 274), "seccomp": (317, 277), "semget": (64, 190),
    "set_mempolicy": (238, 237), "setdomainname": (171, 162), "sethostname": (170, 161), "setns": (308, 268),
    "setsockopt": (54, 208), "socket": (41, 198), "settimeofday": (164, 170), "shmat": (30, 196), "shmctl": (31, 195),
    "shmget": (29, 194), "splice": (275, 76), "statmount": (457, 457), "swapoff": (168, 225), "swapon": (167, 224),
    "renameat2": (316, 276), "sync": (162, 81), "sync_file_range": (277, 84), "syncfs": (306, 267),
    "sysfs": (139, -1), "syslog": (103, 116), "tgkill": (234, 131), "umount2": (166, 39), "unshare": (272, 97),
    "uselib": (134, -1), "userfaultfd": (323, 282), "ustat": (136, -1), "vhangup": (153, 58),
}  # fmt: skip
MACHINES = ("x86_64", "aarch64")
NUMBERS = _BOTH  # for those who compare


def number(name: str) -> int:
    """The number of this call here; -1 where this machine has none (or is none that we know)."""
    machine = os.uname().machine
    return _BOTH[name][MACHINES.index(machine)] if machine in MACHINES else -1
