/*
 * What jobs/xdp.ts does through our port, by hand: AF_XDP with the same system calls, buffers and batches, without a
 * library. It finds the interfaces that xdp-scene.ts has made.
 *
 *     xdp-twin KIND BATCH WARMUP SECONDS     KIND: 0 tx, 1 rx, 2 forward; prints {"frames", "wallNs", "cpuNs", "syscalls"}
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* As in src/os/xsk.ts and src/os/bpf.ts: headers of the system may be older than its kernel. */
enum {
  AF_XDP_ = 44, SOL_XDP_ = 283,
  MMAP_OFFSETS = 1, RX_RING = 2, TX_RING = 3, UMEM_REG = 4, FILL_RING = 5, COMPLETION_RING = 6, TX_BUDGET = 9,
  NEED_WAKEUP_BIND = 8, NEED_WAKEUP = 1,
  MAP_XSK = 17, PROG_XDP = 6, ATTACH_XDP = 37, HAS_FRAGS = 32, NATIVE = 4,
  MAP_CREATE = 0, MAP_UPDATE = 2, PROG_LOAD = 5, LINK_CREATE = 28,
};
enum { SLOTS = 512, FRAME = 2048, HEADROOM = 256, LENGTH = 60, BURST = 64, FRAMES = 6 * SLOTS };

struct ring { uint32_t *producer, *consumer, *flags; void *entries; uint32_t at; };
struct descriptor { uint64_t address; uint32_t length, options; };
struct port { int fd; struct ring rx, tx, fill, completion; uint64_t free[SLOTS]; uint32_t given, taken; };

static uint8_t *memory;
static uint64_t syscalls;

/* In the order of our port's ring: the buffer that has been out of use for longest comes next. */
static void give(struct port *p, uint64_t address) { p->free[p->given++ & (SLOTS - 1)] = address; }
static uint64_t take(struct port *p) { return p->free[p->taken++ & (SLOTS - 1)]; }
static int frees(struct port *p) { return p->given - p->taken; }

static void fail(const char *what) { fprintf(stderr, "%s: %s\n", what, strerror(errno)); exit(1); }
static int check(int result, const char *what) { if (result < 0) fail(what); return result; }
static int bpf(int command, void *attribute) { return syscall(SYS_bpf, command, attribute, 152); }
static double seconds(clockid_t clock) { struct timespec t; clock_gettime(clock, &t); return t.tv_sec + t.tv_nsec * 1e-9; }

static int load(const struct bpf_insn *code, int count, int flags) {
  union { uint8_t bytes[152]; struct { uint32_t type, count; uint64_t code, license; uint32_t log[2]; uint64_t log_at; uint32_t version, flags; char name[16]; uint32_t device, attach; } a; } u;
  memset(&u, 0, sizeof u);
  u.a.type = PROG_XDP; u.a.count = count; u.a.code = (uintptr_t)code; u.a.license = (uintptr_t) "Apache-2.0";
  u.a.flags = flags; u.a.attach = ATTACH_XDP;
  return check(bpf(PROG_LOAD, &u), "load a program");
}

static struct ring map_ring(int fd, int option, int layout, uint64_t page, int entry) {
  int slots = SLOTS;
  uint64_t offsets[16];
  socklen_t length = sizeof offsets;
  check(setsockopt(fd, SOL_XDP_, option, &slots, 4), "ring");
  check(getsockopt(fd, SOL_XDP_, MMAP_OFFSETS, offsets, &length), "offsets");
  uint64_t *o = offsets + 4 * layout;
  uint8_t *at = mmap(0, o[2] + SLOTS * entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, page);
  if (at == MAP_FAILED) fail("mmap");
  return (struct ring){(void *)(at + o[0]), (void *)(at + o[1]), (void *)(at + o[3]), at + o[2], 0};
}

/* Takes everything that the interface receives, if nobody else does. Frames [first, first + 2 SLOTS) are the port's. */
static void open_port(struct port *p, const char *name, int first) {
  p->fd = check(socket(AF_XDP_, SOCK_RAW | SOCK_CLOEXEC, 0), "socket");
  struct { uint64_t at, bytes; uint32_t chunk, headroom, flags, metadata; } umem = {(uintptr_t)memory, (uint64_t)FRAMES * FRAME, FRAME, 0, 0, 0};
  check(setsockopt(p->fd, SOL_XDP_, UMEM_REG, &umem, sizeof umem), "umem");
  p->completion = map_ring(p->fd, COMPLETION_RING, 3, 0x180000000, 8);
  p->tx = map_ring(p->fd, TX_RING, 1, 0x80000000, 16);
  int budget = SLOTS;
  setsockopt(p->fd, SOL_XDP_, TX_BUDGET, &budget, 4);
  p->fill = map_ring(p->fd, FILL_RING, 2, 0x100000000, 8);
  p->rx = map_ring(p->fd, RX_RING, 0, 0, 16);
  int ifindex = if_nametoindex(name);
  struct { uint16_t family, flags; uint32_t ifindex, queue, fd; } address = {AF_XDP_, NEED_WAKEUP_BIND, ifindex, 0, 0};
  uint32_t create[38] = {MAP_XSK, 4, 4, 1};
  int map = check(bpf(MAP_CREATE, create), "map");
  struct bpf_insn code[] = {
      {BPF_LDX | BPF_MEM | BPF_W, 2, 1, 16, 0},
      {BPF_LD | BPF_IMM | BPF_DW, 1, 1, 0, map}, {0},
      {BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, XDP_PASS},
      {BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_redirect_map},
      {BPF_JMP | BPF_EXIT, 0, 0, 0, 0},
  };
  uint32_t link[38] = {load(code, 6, HAS_FRAGS), ifindex, ATTACH_XDP, NATIVE};
  check(bpf(LINK_CREATE, link), "attach");
  check(bind(p->fd, (void *)&address, sizeof address), "bind");
  for (int i = 0; i < SLOTS; i++) ((uint64_t *)p->fill.entries)[i] = (uint64_t)(first + i) * FRAME;
  p->fill.at = SLOTS;
  __atomic_store_n(p->fill.producer, SLOTS, __ATOMIC_RELEASE);
  for (int i = 0; i < SLOTS; i++) give(p, (uint64_t)(first + SLOTS + i) * FRAME + HEADROOM);
  uint32_t key = 0, value = p->fd;
  uint64_t update[19] = {(uint32_t)map, (uintptr_t)&key, (uintptr_t)&value};
  check(bpf(MAP_UPDATE, update), "map update");
}

static void complete(struct port *p) {
  uint32_t producer = __atomic_load_n(p->completion.producer, __ATOMIC_ACQUIRE);
  uint64_t *entries = p->completion.entries;
  for (; p->completion.at != producer; p->completion.at++)
    give(p, (entries[p->completion.at & (SLOTS - 1)] & ~(uint64_t)(FRAME - 1)) + HEADROOM);
  __atomic_store_n(p->completion.consumer, producer, __ATOMIC_RELEASE);
}

static void send_all(struct port *p) {
  __atomic_store_n(p->tx.producer, p->tx.at, __ATOMIC_RELEASE);
  uint32_t consumer = __atomic_load_n(p->tx.consumer, __ATOMIC_ACQUIRE);
  while (consumer != p->tx.at && (*p->tx.flags & NEED_WAKEUP)) {
    syscalls++;
    sendto(p->fd, 0, 0, MSG_DONTWAIT, 0, 0);
    uint32_t before = consumer;
    consumer = __atomic_load_n(p->tx.consumer, __ATOMIC_ACQUIRE);
    if (consumer == before) break;
  }
  complete(p);
}

static void queue(struct port *p, uint64_t address, uint32_t length) {
  ((struct descriptor *)p->tx.entries)[p->tx.at++ & (SLOTS - 1)] = (struct descriptor){address, length, 0};
}

static int tx(struct port *p, int batch) {
  int n = frees(p) < batch ? frees(p) : batch;
  for (int i = 0; i < n; i++) queue(p, take(p), LENGTH);
  send_all(p);
  return n;
}

/* Receives a batch, and sends it by `out` if there is one. */
static int receive(struct port *p, struct port *out, int batch) {
  int n = __atomic_load_n(p->rx.producer, __ATOMIC_ACQUIRE) - p->rx.at;
  if (n > batch) n = batch;
  if (out && n > frees(out)) n = frees(out);
  struct descriptor *in = p->rx.entries;
  uint64_t *fill = p->fill.entries;
  for (int i = 0; i < n; i++) {
    struct descriptor d = in[p->rx.at++ & (SLOTS - 1)];
    uint64_t back = d.address;
    if (out) {
      queue(out, d.address, d.length);
      back = take(out);
    }
    fill[p->fill.at++ & (SLOTS - 1)] = back & ~(uint64_t)(FRAME - 1);
  }
  __atomic_store_n(p->rx.consumer, p->rx.at, __ATOMIC_RELEASE);
  __atomic_store_n(p->fill.producer, p->fill.at, __ATOMIC_RELEASE);
  if (out) send_all(out);
  return n;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  int kind = atoi(argv[1]), batch = atoi(argv[2]);
  double warmup = atof(argv[3]), measured = atof(argv[4]);
  static struct port in, out, source;
  memory = mmap(0, (uint64_t)FRAMES * FRAME, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  uint8_t frame[LENGTH];
  if (fread(frame, 1, LENGTH, stdin) != LENGTH) fail("the frame on stdin");
  for (int i = 0; i < FRAMES; i++) memcpy(memory + i * FRAME + HEADROOM, frame, LENGTH);
  open_port(&in, "x0", 0);
  if (kind == 2) open_port(&out, "y0", 2 * SLOTS);
  if (kind != 0) open_port(&source, "f0", 4 * SLOTS);

  uint64_t frames = 0, frames_before = 0, syscalls_before = 0;
  double start = seconds(CLOCK_MONOTONIC), from = 0, cpu = 0;
  for (;;) {
    double now = seconds(CLOCK_MONOTONIC);
    if (from == 0 && now - start >= warmup) { from = now; cpu = seconds(CLOCK_PROCESS_CPUTIME_ID); frames_before = frames; syscalls_before = syscalls; }
    if (from != 0 && now - from >= measured) { from = now - from; break; }
    for (int round = 0; round < 16; round++) {
      if (kind == 0) { frames += tx(&in, batch); continue; }
      uint64_t before = syscalls;
      tx(&source, batch > BURST ? batch : BURST);
      syscalls = before;
      for (int n; (n = receive(&in, kind == 2 ? &out : 0, batch)) > 0;) frames += n;
    }
  }
  cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
  printf("{\"frames\":%lu,\"wallNs\":%.0f,\"cpuNs\":%.0f,\"syscalls\":%lu}\n", frames - frames_before, from * 1e9, cpu * 1e9, syscalls - syscalls_before);
  return 0;
}
