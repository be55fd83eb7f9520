/* Bounds and version of everything that Python sends, checked once, before any of it is used.
 * Pure functions of (bytes, size): also what the fuzzer drives. 0 = good, else -EINVAL, -EPROTO
 * for another version, with *row set to the row at fault where there is one. */
#include "plan.h"
#include "sys.h"

#define ROW(base, table, type, i) ((const type *)(const void *)((const char *)(base) + (table).off) + (i))

/* A table of `count` rows of `row` bytes lies inside the blob and is aligned. */
static int table_ok(struct pj_table t, uint32_t size, uint32_t head, uint32_t row, uint32_t max) {
  if (t.count == 0) return 1;
  if (t.count > max || t.off < head || t.off % 8 || t.off > size) return 0;
  return t.count <= (size - t.off) / row;
}
static int span_ok(uint32_t off, uint32_t len, uint32_t size) { return off <= size && len <= size - off; }

/* Options are key=value strings: each ends in NUL inside its own span. */
static int options_ok(const char *base, uint32_t off, uint32_t len, uint32_t size) {
  return span_ok(off, len, size) && (len == 0 || base[off + len - 1] == 0);
}
static int head_ok(const void *blob, uint32_t have, uint32_t *row, uint32_t magic, uint32_t head) {
  const uint32_t *h = blob;
  *row = 0;
  if (have < head || have > PJ_MAX_BLOB || ((uintptr_t)blob & 7)) return -EINVAL;
  if (h[0] != magic || h[1] != PJ_VERSION) return -EPROTO;
  if (h[2] < head || h[2] > have || ((const char *)blob)[h[2] - 1] != 0) return -EINVAL;
  return 0;
}

static int mounts_ok(const char *base, struct pj_table t, uint32_t size, uint32_t head, uint32_t *row) {
  if (!table_ok(t, size, head, sizeof(struct pj_mount), PJ_MAX_ROWS)) return 0;
  for (uint32_t i = 0; i < t.count; i++) {
    const struct pj_mount *m = ROW(base, t, struct pj_mount, i);
    *row = i;
    if (m->kind >= MOUNT_KINDS || m->source >= size || m->target >= size) return 0;
    if (!span_ok(m->data, m->data_len, size) || m->data >= size) return 0;
    if (m->kind == MOUNT_FS && !options_ok(base, m->data, m->data_len, size)) return 0;
    if (base[m->target] == '/') return 0; /* always relative to a root that we hold */
  }
  return 1;
}

int pj_check_plan(const void *blob, uint32_t have, uint32_t *row) {
  const struct pj_plan *p = blob;
  const uint32_t head = sizeof *p;
  int rc = head_ok(blob, have, row, PJ_PLAN_MAGIC, head);
  if (rc) return rc;
  if (p->hostname != PJ_NONE && p->hostname >= p->size) return -EINVAL;
  /* Nothing runs with the host's ids, mounts on the host, or kills from outside of a pid namespace. */
  const uint64_t own = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID;
  if (((p->unshare_first | p->unshare_second) & own) != own) return -EINVAL;
  if (p->cgroups > PJ_MAX_CGROUPS || (p->into != PJ_NONE && p->into >= p->cgroups)) return -EINVAL;
  if (!options_ok(blob, p->proc_options, p->proc_options_len, p->size)) return -EINVAL;
  if (!mounts_ok(blob, p->mounts, p->size, head, row) || !mounts_ok(blob, p->run_mounts, p->size, head, row))
    return -EINVAL;
  if (!table_ok(p->landlock, p->size, head, sizeof(struct pj_landlock_rule), PJ_MAX_ROWS)) return -EINVAL;
  for (uint32_t i = 0; i < p->landlock.count; i++) {
    const uint32_t path = ROW(blob, p->landlock, struct pj_landlock_rule, i)->path;
    *row = i;
    if (path >= p->size || ((const char *)blob)[path] != '/') return -EINVAL;
  }
  return table_ok(p->seccomp, p->size, head, 8, PJ_MAX_ROWS) ? 0 : -EINVAL;
}

int pj_check_limits(const void *blob, uint32_t have, uint32_t cgroups, uint32_t *row) {
  const struct pj_limits *l = blob;
  const uint32_t head = sizeof *l;
  int rc = head_ok(blob, have, row, PJ_LIMITS_MAGIC, head);
  if (rc) return rc;
  if (!span_ok(l->affinity, l->affinity_len, l->size) || l->affinity_len > 1024) return -EINVAL;
  if (l->read_only != PJ_NONE && (l->read_only >= l->size || ((const char *)blob)[l->read_only] == '/')) return -EINVAL;
  if (!table_ok(l->cgroup, l->size, head, sizeof(struct pj_cgroup_row), 64)) return -EINVAL;
  if (!table_ok(l->tmpfs, l->size, head, sizeof(struct pj_tmpfs), PJ_MAX_TMPFS)) return -EINVAL;
  if (!table_ok(l->rlimits, l->size, head, sizeof(struct pj_rlimit), 32)) return -EINVAL;
  for (uint32_t i = 0; i < l->cgroup.count; i++) {
    const struct pj_cgroup_row *r = ROW(blob, l->cgroup, struct pj_cgroup_row, i);
    *row = i;
    if (r->hierarchy >= cgroups || r->file >= l->size || r->when >= CGROUP_WHENS) return -EINVAL;
    if (r->value >= l->size && (r->value != PJ_NONE || r->when == CGROUP_SET)) return -EINVAL;
    if (r->renew >= l->size && r->renew != PJ_NONE) return -EINVAL;
    for (const char *c = (const char *)blob + r->file; *c; c++) /* a file of the leaf itself, nothing else */
      if (*c == '/') return -EINVAL;
  }
  for (uint32_t i = 0; i < l->tmpfs.count; i++) {
    const struct pj_tmpfs *t = ROW(blob, l->tmpfs, struct pj_tmpfs, i);
    *row = i;
    if (t->target >= l->size || ((const char *)blob)[t->target] == '/') return -EINVAL;
    if (!options_ok(blob, t->data, t->data_len, l->size)) return -EINVAL;
  }
  return 0;
}

static int refs_ok(const char *base, struct pj_table t, uint32_t size, uint32_t head, uint32_t *row) {
  if (!table_ok(t, size, head, 4, PJ_MAX_BLOB / 4)) return 0;
  for (uint32_t i = 0; i < t.count; i++) {
    *row = i;
    if (*ROW(base, t, uint32_t, i) >= size) return 0;
  }
  return 1;
}

int pj_check_request(const void *blob, uint32_t have, uint32_t *row) {
  const struct pj_request *r = blob;
  const uint32_t head = sizeof *r;
  int rc = head_ok(blob, have, row, PJ_REQUEST_MAGIC, head);
  if (rc) return rc;
  if (r->cpus == 0 || r->cwd >= r->size || r->argv.count == 0 || r->path.count == 0 || r->path.count > PJ_MAX_ROWS)
    return -EINVAL;
  for (int i = 0; i < 3; i++)
    if (r->stdio[i] > STDIO_STDOUT || (i < 2 && r->stdio[i] == STDIO_STDOUT)) return -EINVAL;
  if (r->stdio[0] == STDIO_PIPE) return -EINVAL;
  if (!refs_ok(blob, r->argv, r->size, head, row) || !refs_ok(blob, r->env, r->size, head, row)) return -EINVAL;
  return refs_ok(blob, r->path, r->size, head, row) ? 0 : -EINVAL;
}
