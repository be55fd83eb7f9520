/* The end of fail_nth.h and fail_spawn.h: what calls the kernel asks their fail_now() first. */
static long fail_clone(struct clone_args *args, void (*run)(void *), void *arg) {
  const long rc = fail_now(__NR_clone3);
  return rc ? rc : sys_clone(args, run, arg);
}
#define sys6 fail_sys6
#define sys_clone fail_clone
