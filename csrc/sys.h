/* Raw system calls returning -errno, for x86_64 and aarch64. No libc, no errno, no TLS:
 * glibc's wrappers write errno into the parent thread's TLS under CLONE_VM, and the keeper has none. */
#ifndef PYJAIL_SYS_H
#define PYJAIL_SYS_H
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#define ARCH 0xc000003e /* AUDIT_ARCH_X86_64 */
static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
  long ret;
  __asm__ volatile("syscall"
                   : "=a"(ret)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return ret;
}
#elif defined(__aarch64__)
#define ARCH 0xc00000b7 /* AUDIT_ARCH_AARCH64 */
static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
  register long x8 __asm__("x8") = n, x0 __asm__("x0") = a, x1 __asm__("x1") = b, x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d, x4 __asm__("x4") = e, x5 __asm__("x5") = f;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
#else
#error "pyjail knows x86_64 and aarch64"
#endif
/* The last argument of all our calls but mmap and splice, which have none to spare. The programs' filter is the
 * keeper's, too: it refuses nothing to who knows these 64 random bits (docs/adr/0011). 0 where there is none. */
static long pass;
#define SYS_PICK(_1, _2, _3, _4, _5, _6, _7, N, ...) N
#define SYS(...) SYS_PICK(__VA_ARGS__, SIX, FIVE, FIVE, FIVE, FIVE, FIVE, FIVE, )(__VA_ARGS__, 0, 0, 0, 0, 0, 0)
#define FIVE(n, a, b, c, d, e, ...) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), pass)
#define SIX(n, a, b, c, d, e, f, ...) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

/* clone3 whose child starts in run(arg) on the stack in args: it must never return here. */
static inline long sys_clone(struct clone_args *args, void (*run)(void *), void *arg) {
#if defined(__x86_64__)
  long ret;
  register long r9 __asm__("r9") = pass;
  register void *rarg __asm__("r12") = arg;
  register void (*rrun)(void *) __asm__("r13") = run;
  __asm__ volatile("syscall; test %%rax, %%rax; jnz 1f; xor %%ebp, %%ebp; mov %%r12, %%rdi; call *%%r13; ud2; 1:"
                   : "=a"(ret)
                   : "a"((long)__NR_clone3), "D"(args), "S"(sizeof *args), "r"(r9), "r"(rarg), "r"(rrun)
                   : "rcx", "r11", "memory");
  return ret;
#else
  register long x8 __asm__("x8") = __NR_clone3, x0 __asm__("x0") = (long)args;
  register long x1 __asm__("x1") = (long)sizeof *args, x5 __asm__("x5") = pass;
  register void *x20 __asm__("x20") = arg;
  register void (*x21)(void *) __asm__("x21") = run;
  __asm__ volatile("svc 0; cbnz x0, 1f; mov x29, xzr; mov x0, x20; blr x21; brk #1; 1:"
                   : "+r"(x0)
                   : "r"(x8), "r"(x1), "r"(x5), "r"(x20), "r"(x21)
                   : "memory", "x30");
  return x0;
#endif
}

#ifdef FAIL_NTH /* tests/native/fail_nth.h: any of these calls can be made to fail */
#include FAIL_NTH
#endif

static inline void sys_close(int fd) {
  if (fd >= 0) SYS(__NR_close, fd);
}
static inline void __attribute__((noreturn)) sys_exit(int code) {
  for (;;) SYS(__NR_exit_group, code);
}

#ifdef PYJAIL_FREESTANDING /* ---- for the keeper, which has no libc ---- */
#include <asm/ioctls.h>
#include <asm/poll.h>
#include <asm/statfs.h>
#include <linux/capability.h>
#include <linux/elf.h>
#include <linux/fs.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <linux/mman.h>
#include <linux/personality.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched/types.h>
#include <linux/seccomp.h>
#include <linux/signal.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/uio.h>
#include <linux/wait.h>

struct k_msghdr {
  void *name;
  int namelen;
  struct iovec *iov;
  size_t iovlen;
  void *control;
  size_t controllen;
  unsigned flags;
};
struct k_cmsg { /* one SCM_RIGHTS record of up to four fds */
  size_t len;
  int level, type;
  int fd[4];
};
enum { K_SOL_SOCKET = 1, K_SCM_RIGHTS = 1 };
enum { K_MSG_CTRUNC = 8, K_MSG_DONTWAIT = 0x40, K_MSG_NOSIGNAL = 0x4000, K_MSG_CMSG_CLOEXEC = 0x40000000 };
static inline uint64_t clock_ns(int clock) {
  struct __kernel_timespec t = {0, 0};
  SYS(__NR_clock_gettime, clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline void rest(long ns) {
  struct __kernel_timespec t = {0, ns};
  SYS(__NR_ppoll, NULL, 0, &t, NULL, 8);
}
static inline long sys_open_beneath(int dir, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  return SYS(__NR_openat2, dir, path, &how, sizeof how);
}
static inline void fd_drop(int *fd) {
  sys_close(*fd);
  *fd = -1;
}

static inline size_t str_len(const char *s) {
  size_t n = 0;
  while (s[n]) n++;
  return n;
}
static inline int mem_equal(const void *a, const void *b, size_t n) {
  for (const unsigned char *x = a, *y = b; n--;)
    if (*x++ != *y++) return 0;
  return 1;
}
static inline uint64_t minus(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }
static inline char *number_before(char *end, uint64_t v) {
  do *--end = (char)('0' + v % 10);
  while (v /= 10);
  return end;
}
static inline uint64_t parse_u64(const char *s, size_t n) {
  uint64_t v = 0;
  for (size_t i = 0; i < n && s[i] >= '0' && s[i] <= '9'; i++) v = v * 10 + (uint64_t)(s[i] - '0');
  return v;
}

/* The compiler may call these even in freestanding code; local, so `nm -u` stays empty. */
static __attribute__((used)) void *memcpy(void *d, const void *s, size_t n) {
  const unsigned char *y = s;
  for (unsigned char *x = d; n--;) *x++ = *y++;
  return d;
}
static __attribute__((used)) void *memset(void *d, int c, size_t n) {
  for (unsigned char *x = d; n--;) *x++ = (unsigned char)c;
  return d;
}
#endif
#endif
