# Tessera's front door. Every target is a verb of xtask/, the build tool; this
# file hands it the variables and finds it a cargo to be built with.

# What `make help` lists, and nothing else: xtask checks the values, and its
# defaults are the only ones.
VARIABLES := A ARCH SMP MEM MODE LOG FEATURES APP_FEATURES ACCEL QEMU_ARGS ARGS SEED TIMEOUT TIME N V
export $(VARIABLES)

VERBS := build run test test-long fuzz mutants smp-test smp-soak debug disasm size maps bench bench-boot bench-threads doc check setup

.DEFAULT_GOAL := help
.PHONY: help clean $(VERBS)

define HELP
make VERB [VARIABLE=value ...]        e.g.  make A=apps/memtest ARCH=riscv64 run

  run       build an application, boot it      build       the image only
  test      host tests, then every machine     smp-test    do all harts come up?
  test-long the random tests, longer           fuzz        look for more, TIME long
  mutants   breaks a rule at a time: does a test notice?
  debug     gdb on the first instruction       disasm      the image as assembly
  size      what the image is made of          bench-boot  image size, boot time
  maps      boot, and draw the kernel's address space
  smp-soak  N boots of each machine, of random size, in which all harts work
  bench     what memory management costs, beside other people's
  bench-threads  what two threads get done beside one; needs a quiet computer
  check     fmt, clippy, rustdoc: no warning   doc         the modules' pages
  setup     install all that may be missing    clean       remove target/

  A=apps/helloworld  the application, any path    ARCH=riscv64  x86_64, aarch64,
  SMP=1         harts, 1 to 64                                  loongarch64, host
  MEM=128M      memory: K, M, G, or MiB           MODE=release  debug
  LOG=warn      off error warn info debug trace   ACCEL=tcg     kvm, auto
  FEATURES=     the kernel's: alloc,smp,...       APP_FEATURES= the app's
  ARGS=         words for the application         SEED=         of a random test
  QEMU_ARGS=    more arguments for QEMU           V=1           show commands
  TIME=60       seconds of fuzzing                N=100         boots of smp-soak
  TIMEOUT=60    seconds of silence until a run counts as hung; 0: never

`make` ends with 2 whatever failed; `cargo xtask run ARCH=...` ends with the
guest's own status. docs/running.md tells the rest.
endef

help:
	$(info $(HELP))
	@:

# The exec makes xtask make's own child: a signal reaches it.
$(VERBS):
	@exec scripts/xtask.sh $@

clean:
	rm -rf target
