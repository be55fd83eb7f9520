/* Preloaded: the call number eintr_at, of those that a signal can interrupt, fails with EINTR, as it does when its handler
 * was installed without SA_RESTART. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>

unsigned eintr_at, eintr_count;
const char *eintr_name;

#define DUE (eintr_at && __atomic_add_fetch(&eintr_count, 1, __ATOMIC_SEQ_CST) == eintr_at)
#define FAILS(type, name, failed, parameters, ...)                \
  type name parameters {                                          \
    static type(*real) parameters;                                \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);         \
    if (DUE) return eintr_name = #name, errno = EINTR, failed;    \
    return real(__VA_ARGS__);                                     \
  }
/* With arguments that may not be there: then they are not looked at. */
#define MORE(type, name, a, b)                                    \
  type name(a x, b y, ...) {                                      \
    static type (*real)(a, b, ...);                               \
    va_list more;                                                 \
    va_start(more, y);                                            \
    void *z = va_arg(more, void *), *w = va_arg(more, void *);    \
    va_end(more);                                                 \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name);         \
    if (DUE) return eintr_name = #name, errno = EINTR, -1;        \
    return real(x, y, z, w);                                      \
  }
MORE(int, open, const char *, int)
MORE(int, open64, const char *, int)
MORE(int, openat, int, const char *)
MORE(int, openat64, int, const char *)
MORE(int, fcntl, int, int)
MORE(int, fcntl64, int, int)
MORE(int, ioctl, int, unsigned long)
FAILS(long, read, -1, (int a, void *b, size_t c), a, b, c)
FAILS(long, write, -1, (int a, const void *b, size_t c), a, b, c)
FAILS(long, pread64, -1, (int a, void *b, size_t c, long d), a, b, c, d)
FAILS(long, pwrite64, -1, (int a, const void *b, size_t c, long d), a, b, c, d)
FAILS(int, ftruncate64, -1, (int a, long b), a, b)
FAILS(int, flock, -1, (int a, int b), a, b)
FAILS(int, poll, -1, (void *a, unsigned long b, int c), a, b, c)
FAILS(int, select, -1, (int a, void *b, void *c, void *d, void *e), a, b, c, d, e)
FAILS(int, epoll_wait, -1, (int a, void *b, int c, int d), a, b, c, d)
FAILS(long, recv, -1, (int a, void *b, size_t c, int d), a, b, c, d)
FAILS(long, recvmsg, -1, (int a, void *b, int c), a, b, c)
FAILS(long, send, -1, (int a, const void *b, size_t c, int d), a, b, c, d)
FAILS(long, sendmsg, -1, (int a, const void *b, int c), a, b, c)
FAILS(int, waitid, -1, (int a, int b, void *c, int d), a, b, c, d)
FAILS(int, waitpid, -1, (int a, int *b, int c), a, b, c)
FAILS(int, wait4, -1, (int a, int *b, int c, void *d), a, b, c, d)
FAILS(int, dup3, -1, (int a, int b, int c), a, b, c)
FAILS(void *, opendir, NULL, (const char *a), a)
FAILS(int, clock_nanosleep, (errno = 0, EINTR), (int a, int b, const void *c, void *d), a, b, c, d)
FAILS(int, sem_wait, -1, (void *a), a)
FAILS(int, sem_clockwait, -1, (void *a, int b, const void *c), a, b, c)
