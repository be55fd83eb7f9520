/* spawn.c built with -DFAIL_NTH='"this file"': its n-th system call fails, in us or in the child that shares our memory
 * until it has exec'd; and its first wait4(2) is interrupted when it is told so. */
struct fail {
  uint32_t nth; /* 0: none */
  uint32_t err, interrupt, count;
} pj_fail;

static long fail_now(long nr) {
  if (nr == __NR_wait4 && pj_fail.interrupt) return pj_fail.interrupt = 0, -EINTR;
  if (nr != __NR_clone3 && nr != __NR_fcntl && nr != __NR_dup3 && nr != __NR_close_range && nr != __NR_execveat)
    return 0; /* cannot fail here */
  return ++pj_fail.count == pj_fail.nth ? -(long)pj_fail.err : 0;
}
static long fail_sys6(long nr, long a, long b, long c, long d, long e, long f) {
  const long rc = fail_now(nr);
  return rc ? rc : sys6(nr, a, b, c, d, e, f);
}
#include "fail_calls.h"
