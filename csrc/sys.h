/* Raw system calls returning -errno, for x86_64 and aarch64. No libc, no errno, no TLS:
 * glibc's wrappers write errno into the parent thread's TLS under CLONE_VM, and the keeper has none. */
#ifndef PYJAIL_SYS_H
#define PYJAIL_SYS_H
#include <asm/unistd.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <stddef.h>
#include <stdint.h>

#define NO_MAP(address) ((address) < 0 && (address) > -4096)

#if defined(__x86_64__)
#define ARCH 0xc000003e /* AUDIT_ARCH_X86_64 */
static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
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
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
}
#else
#error "pyjail knows x86_64 and aarch64"
#endif
/* The last argument of all our calls that have one to spare (all but mmap and splice). The keeper and what it forks are
 * under the programs' own filter, which lets through what it refuses to all others for who knows these 64 random bits
 * (docs/adr/0011). 0 where there is no such filter. */
static long pass;
#define SYS_PICK(_1, _2, _3, _4, _5, _6, _7, N, ...) N
#define SYS(...) SYS_PICK(__VA_ARGS__, SYS7, SYS6, SYS5, SYS4, SYS3, SYS2, SYS1, )(__VA_ARGS__)
#define L(x) ((long)(x))
#define SYS1(n) sys6(n, 0, 0, 0, 0, 0, pass)
#define SYS2(n, a) sys6(n, L(a), 0, 0, 0, 0, pass)
#define SYS3(n, a, b) sys6(n, L(a), L(b), 0, 0, 0, pass)
#define SYS4(n, a, b, c) sys6(n, L(a), L(b), L(c), 0, 0, pass)
#define SYS5(n, a, b, c, d) sys6(n, L(a), L(b), L(c), L(d), 0, pass)
#define SYS6(n, a, b, c, d, e) sys6(n, L(a), L(b), L(c), L(d), L(e), pass)
#define SYS7(n, a, b, c, d, e, f) sys6(n, L(a), L(b), L(c), L(d), L(e), L(f))

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
  register long x8 __asm__("x8") = __NR_clone3;
  register long x0 __asm__("x0") = (long)args;
  register long x1 __asm__("x1") = (long)sizeof *args;
  register long x5 __asm__("x5") = pass;
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
enum { K_SIGHUP = 1, K_SIGKILL = 9, K_SIGTERM = 15, K_SIGCHLD = 17, K_SIGCONT = 18 };

#ifdef PYJAIL_FREESTANDING /* ---- for the keeper, which has no libc ---- */
#include <asm/poll.h>
#include <asm/statfs.h>
#include <linux/capability.h>
#include <linux/elf.h>
#include <linux/fs.h>
#include <linux/ioctl.h>
#include <linux/prctl.h>
#include <linux/resource.h>
#include <linux/sched/types.h>
#include <linux/seccomp.h>
#include <linux/stat.h>
#include <linux/time_types.h>
#include <linux/uio.h>

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
