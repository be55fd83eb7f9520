"""Judge0's numbers and names: languages, statuses, limits, and what its configuration says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NAME = "judge0"
VERSION = "1.13.1"
LANGUAGES: Mapping[int, tuple[str, str]] = {  # its id: ours, its name
    43: ("bash", "Plain Text"), 44: ("bash", "Executable"),
    46: ("bash", "Bash"), 48: ("c", "C"), 49: ("c", "C"), 50: ("c", "C"), 52: ("cpp", "C++"), 53: ("cpp", "C++"),
    51: ("csharp", "C#"), 54: ("cpp", "C++"), 60: ("go", "Go"),
    62: ("java", "Java"), 63: ("javascript", "JavaScript"), 68: ("php", "PHP"), 71: ("python", "Python"),
    72: ("ruby", "Ruby"),
    73: ("rust", "Rust"), 74: ("typescript", "TypeScript"), 78: ("kotlin", "Kotlin"), 85: ("perl", "Perl"),
    89: ("bash", "Multi-file program"),
}  # fmt: skip
NO_VERSION = (43, 44, 89)
PROJECT = 89
STATUSES: Mapping[int, str] = {
    1: "In Queue", 2: "Processing", 3: "Accepted", 4: "Wrong Answer", 5: "Time Limit Exceeded", 6: "Compilation Error",
    7: "Runtime Error (SIGSEGV)", 8: "Runtime Error (SIGXFSZ)", 9: "Runtime Error (SIGFPE)",
    10: "Runtime Error (SIGABRT)", 11: "Runtime Error (NZEC)", 12: "Runtime Error (Other)", 13: "Internal Error",
    14: "Exec Format Error",
}  # fmt: skip
OF_SIGNALS = {11: 7, 25: 8, 8: 9, 6: 10}
MOST_IN_BATCH = 20
# Its field: ours, what one of it is of ours, its default, the least and the most that it takes.
LIMITS: Mapping[str, tuple[str, float, float, float, float]] = {
    "cpu_time_limit": ("cpu_time", 1, 5, 0.001, 15), "wall_time_limit": ("wall_time", 1, 10, 1, 20),
    "memory_limit": ("memory", 1024, 128000, 2048, 512000), "stack_limit": ("stack", 1024, 64000, 4, 128000),
    "max_processes_and_or_threads": ("processes", 1, 60, 1, 120), "max_file_size": ("file_size", 1024, 1024, 1, 4096),
}  # fmt: skip
REFUSED: Mapping[str, str] = {
    "enable_network": "enabling network is not allowed", "callback_url": "setting callback is not allowed",
    "enable_per_process_and_thread_time_limit": "this option cannot be enabled",
    "enable_per_process_and_thread_memory_limit": "this option cannot be enabled",
}  # fmt: skip
# What the settings may turn off, with what is said then.
OPTIONAL: Mapping[str, str] = {
    "additional_files": "setting additional files is not allowed",
    "compiler_options": "setting compiler options is not allowed",
}
FIELDS = (
    "source_code", "language_id", "stdin", "expected_output", "stdout", "status_id", "created_at", "finished_at",
    "time", "memory", "stderr", "token", "number_of_runs", "cpu_time_limit", "cpu_extra_time", "wall_time_limit",
    "memory_limit", "stack_limit", "max_processes_and_or_threads", "enable_per_process_and_thread_time_limit",
    "enable_per_process_and_thread_memory_limit", "max_file_size", "compile_output", "exit_code", "exit_signal",
    "message", "wall_time", "compiler_options", "command_line_arguments", "redirect_stderr_to_stdout", "callback_url",
    "additional_files", "enable_network", "status", "language",
)  # fmt: skip
# Of later versions: told to who names them alone, as clients of this one take no others.
LATER = ("queued_at", "started_at", "updated_at", "queue_host", "execution_host")
OFF = tuple(name for name in REFUSED if name != "callback_url")
MOST_RUNS = 20
MOST_EXTRA_TIME, EXTRA_TIME = 5, 1  # seconds that a program is let run on there, so that they can tell how late it was
USUAL = ("token", "time", "memory", "stdout", "stderr", "compile_output", "message", "status")
ENCODED = ("source_code", "stdin", "expected_output", "stdout", "stderr", "compile_output", "message")


def configuration(queue: int, on: Mapping[str, bool], extract: int) -> dict[str, Any]:
    """What ``/config_info`` says; the client needs all of it. ``on``: what the settings turn on and off; ``extract``:
    bytes of files that are unpacked."""
    usual = {name: default for name, (_, _, default, _, _) in LIMITS.items()}
    most = {f"max_{name}": most for name, (_, _, _, _, most) in LIMITS.items()}
    off = (
        *OFF, "allow_enable_network", "allow_enable_per_process_and_thread_memory_limit",
        "allow_enable_per_process_and_thread_time_limit", "enable_callbacks", "maintenance_mode",
        "redirect_stderr_to_stdout", "use_docs_as_homepage",
    )  # fmt: skip
    return {
        **dict.fromkeys(off, False), **usual, **most, "allowed_languages_for_compile_options": [],
        "callbacks_max_tries": 0, "callbacks_timeout": 0, "cpu_extra_time": EXTRA_TIME,
        "max_cpu_extra_time": MOST_EXTRA_TIME, "enable_additional_files": on["additional_files"],
        "enable_batched_submissions": True,
        "enable_command_line_arguments": True, "enable_compiler_options": on["compiler_options"],
        "enable_submission_delete": on["delete"],
        "enable_wait_result": True, "max_extract_size": extract // 1024, "max_number_of_runs": MOST_RUNS,
        "number_of_runs": 1,
        "max_queue_size": queue, "max_submission_batch_size": MOST_IN_BATCH, "submission_cache_duration": 0,
    }  # fmt: skip
