/* Burns and allocations that say themselves what they used: "name value" lines on stdout. See accuracy.py. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int64_t now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

static int64_t cpu(void) { return now(CLOCK_PROCESS_CPUTIME_ID); }

static void burn(int64_t ns) {
  volatile uint64_t x = 1;
  for (int64_t end = cpu() + ns; cpu() < end;)
    for (int i = 0; i < 20000; i++) x = x * 6364136223846793005ull + 1;
}

static void touch(volatile char *at, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 4096) at[i] = 1;
}

/* The CPU clock of another process, a dead one that nobody has waited for included. */
static int64_t cpu_of(pid_t pid) { return now(((~(clockid_t)pid) << 3) | 2); }

static void *thread(void *ns) {
  struct timespec t;
  int64_t end;
  volatile uint64_t x = 1;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  end = t.tv_sec * 1000000000ll + t.tv_nsec + (int64_t)(intptr_t)ns;
  while (now(CLOCK_THREAD_CPUTIME_ID) < end)
    for (int i = 0; i < 20000; i++) x = x * 6364136223846793005ull + 1;
  return NULL;
}
static void cpu_threads(int count, int64_t ns) {
  pthread_t t[64];
  for (int i = 0; i < count; i++) pthread_create(&t[i], NULL, thread, (void *)(intptr_t)ns);
  for (int i = 0; i < count; i++) pthread_join(t[i], NULL);
}

/* Children that are all there at once; the sum of their clocks when they are dead. */
static int64_t cpu_processes(int count, int64_t ns) {
  pid_t child[64];
  int64_t sum = 0;
  for (int i = 0; i < count; i++)
    if (!(child[i] = fork())) burn(ns), _exit(0);
  for (int i = 0; i < count; i++) {
    siginfo_t info;
    waitid(P_PID, child[i], &info, WEXITED | WNOWAIT);
    sum += cpu_of(child[i]);
    waitpid(child[i], NULL, 0);
  }
  return sum;
}

static int64_t cpu_short(int count) {
  int64_t sum = 0;
  for (int i = 0; i < count; i++) {
    siginfo_t info;
    pid_t child = fork();
    if (!child) _exit(0);
    waitid(P_PID, child, &info, WEXITED | WNOWAIT);
    sum += cpu_of(child);
    waitpid(child, NULL, 0);
  }
  return sum;
}

/* Nobody waits for these but init: their parent is gone. Each says what it used at its own end. */
static int64_t cpu_orphans(int count, int64_t ns) {
  volatile int64_t *used = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int end[2];
  char none;
  int64_t sum = 0;
  if (pipe(end) < 0) exit(1);
  for (int i = 0; i < count; i++) {
    pid_t middle = fork();
    if (!middle) {
      if (!fork()) {
        burn(ns);
        used[i] = cpu();
        _exit(0);
      }
      used[32 + i] = cpu();
      _exit(0);
    }
    waitpid(middle, NULL, 0);
  }
  close(end[1]);
  while (read(end[0], &none, 1) > 0) {
  }
  for (int i = 0; i < 2 * 32; i++) sum += used[i];
  return sum;
}

static __attribute__((noinline)) void deep(size_t left) {
  volatile char here[4096];
  here[0] = 1;
  if (left > sizeof here) deep(left - sizeof here);
  here[1] = 1;
}

static void file_of(const char *path, size_t bytes, int mapped) {
  static char block[1 << 16];
  int fd = open(path, O_RDWR | O_CREAT, 0600);
  if (fd < 0) exit(1);
  if (mapped) {
    if (ftruncate(fd, (off_t)bytes) < 0) exit(1);
    touch(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), bytes);
    return;
  }
  for (size_t done = 0; done < bytes; done += sizeof block)
    if (write(fd, block, sizeof block) != sizeof block) exit(1);
}

/* The parent's pages are shared with the child, but for the half that the child writes to. */
static size_t shared(size_t bytes) {
  char *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  touch(at, bytes);
  pid_t child = fork();
  if (!child) {
    volatile char sum = 0;
    for (size_t i = 0; i < bytes; i += 4096) sum += at[i];
    touch(at, bytes / 2);
    _exit(0);
  }
  waitpid(child, NULL, 0);
  return bytes + bytes / 2;
}

static void *waits(void *end) {
  char none;
  if (read(*(int *)end, &none, 1)) return NULL;
  return NULL;
}
static void alive(int count, int threads) {
  int end[2];
  if (pipe(end) < 0) exit(1);
  pthread_t t[64];
  for (int i = 0; i < count; i++) {
    if (threads)
      pthread_create(&t[i], NULL, waits, &end[0]);
    else if (!fork())
      close(end[1]), waits(&end[0]), _exit(0);
  }
  close(end[1]);
  for (int i = 0; i < count; i++) threads ? (void)pthread_join(t[i], NULL) : (void)wait(NULL);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  const long n = argc > 2 ? atol(argv[2]) : 0, ms = argc > 3 ? atol(argv[3]) : 0;
  const int64_t start = cpu(), began = now(CLOCK_MONOTONIC), ns = ms * 1000000;
  int64_t others = 0;
  size_t bytes = (size_t)n << 20;
  if (!strcmp(what, "burn")) burn(ns);
  if (!strcmp(what, "work")) /* the same work, however long it takes */
    for (volatile long i = 0; i < n * 1000000; i++) continue;
  if (!strcmp(what, "threads")) cpu_threads((int)n, ns);
  if (!strcmp(what, "processes")) others = cpu_processes((int)n, ns);
  if (!strcmp(what, "orphans")) others = cpu_orphans((int)n, ns);
  if (!strcmp(what, "short")) others = cpu_short((int)n);
  if (!strcmp(what, "heap")) touch(malloc(bytes), bytes);
  if (!strcmp(what, "stack")) deep(bytes);
  if (!strcmp(what, "tmpfs")) file_of("/tmp/x", bytes, 0);
  if (!strcmp(what, "mapped")) file_of("/box/x", bytes, 1);
  if (!strcmp(what, "shared")) bytes = shared(bytes);
  if (!strcmp(what, "alive")) alive((int)n, 0);
  if (!strcmp(what, "alive-threads")) alive((int)n, 1);
  if (!strcmp(what, "sleep")) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
  }
  printf("bytes %zu\ncpu %lld\nwall %lld\n", bytes, (long long)(cpu() - start + others),
         (long long)(now(CLOCK_MONOTONIC) - began));
  return 0;
}
