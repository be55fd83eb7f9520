/* A keeper built with -DFAIL_NTH='"this file"': its n-th system call fails, and is not made. Which, as whom and with
 * what errno stands behind the longest request in its memfd, where the calls are counted, too. */
#define FAIL_AT PJ_MAX_BLOB
#define FAIL_FD 5 /* FD_REQUEST */
#define FAIL_FDS 256

static struct fail {
  uint32_t role; /* whose: 0 before it is pid 1, and the guard; 1 pid 1, the keeper; 2 the program's process */
  uint32_t nth;  /* 0: none; the first is 1 */
  int32_t err; /* below 0: it says so many, and has done nothing */
  uint32_t only; /* 1 + the number of the call that counts; 0: each does */
  uint32_t nr; /* 1 + the number of the call that did */
  uint32_t count[3];
  uint32_t fds; /* that the keeper has while it waits: nobody but root may look at a process that is not dumpable */
} *fail_marks;

/* What cannot fail with arguments like ours (close does close, whatever it returns) is not counted. */
static int fail_never(long nr) {
  static const long never[] = {__NR_close,  __NR_exit_group,   __NR_clock_gettime,  __NR_umask,
                               __NR_getpid, __NR_rt_sigaction, __NR_rt_sigprocmask, __NR_sched_yield,
                               __NR_munmap, __NR_getpriority,  __NR_setfsuid,       __NR_setfsgid,
                               __NR_wait4};
  for (unsigned i = 0; i < sizeof never / sizeof *never; i++)
    if (never[i] == nr) return 1;
  return 0;
}

static uint32_t fail_open_fds(void) {
  uint32_t found = 0;
  for (int fd = 0; fd < FAIL_FDS; fd++) found += sys6(__NR_fcntl, fd, F_GETFD, 0, 0, 0, pass) >= 0;
  return found;
}

/* -errno when this call is to fail. */
static long fail_now(long nr) {
  if (fail_never(nr)) return 0;
  if (!fail_marks) {
    sys6(__NR_ftruncate, FAIL_FD, FAIL_AT + 4096, 0, 0, 0, 0);
    /* Far from all else: in a box a program's process gets no copy of what is near the keeper's own. */
    long at = sys6(__NR_mmap, 0x10000000000, 4096, 3, 1 /* MAP_SHARED */, FAIL_FD, FAIL_AT);
    static struct fail none; /* the janitor has no request */
    fail_marks = at < 0 && at > -4096 ? &none : (struct fail *)at;
  }
  const long pid = sys6(__NR_getpid, 0, 0, 0, 0, 0, pass);
  const uint32_t role = pid == 1 || pid == 2 ? (uint32_t)pid : 0;
  if (fail_marks->only && fail_marks->only != (uint32_t)nr + 1) return 0;
  if (__atomic_add_fetch(&fail_marks->count[role], 1, __ATOMIC_SEQ_CST) != fail_marks->nth || role != fail_marks->role)
    return 0;
  fail_marks->nr = (uint32_t)nr + 1;
  return -(long)fail_marks->err;
}

static long fail_sys6(long nr, long a, long b, long c, long d, long e, long f) {
  const long rc = fail_now(nr);
  if (nr == __NR_ppoll && a && !c && sys6(__NR_getpid, 0, 0, 0, 0, 0, pass) == 1) fail_marks->fds = fail_open_fds();
  /* It would take our marks away, or what is read of a slot's. */
  if (nr == __NR_ftruncate && !rc && sys6(__NR_lseek, a, 0, 2 /* SEEK_END */, 0, 0, pass) > FAIL_AT) return 0;
  return rc ? rc : sys6(nr, a, b, c, d, e, f);
}
#include "fail_calls.h"
