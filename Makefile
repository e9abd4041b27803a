# Every target but `help` and `clean` is a verb of xtask/, the build tool. This file passes
# it the variables, and scripts/xtask.sh builds it.

# The variables that `make help` lists. xtask checks their values and has their defaults.
VARIABLES := A ARCH SMP MEM MODE LOG FEATURES APP_FEATURES ACCEL QEMU_ARGS ARGS PROG SEED TIMEOUT TIME N V
export $(VARIABLES)

VERBS := build run test test-long fuzz mutants smp-test smp-soak debug disasm size maps bench bench-boot bench-threads doc check setup

.DEFAULT_GOAL := help
.PHONY: help clean $(VERBS)

define HELP
make VERB [VARIABLE=value ...]        e.g.  make A=apps/memtest ARCH=riscv64 run

  run        build an application, boot it    build       build the image only
  test       host tests, then all machines    smp-test    check all harts start
  test-long  run the random tests longer      smp-soak    boot N random machines
  fuzz       run fuzzers for TIME seconds     mutants     check tests find bugs
  debug      start gdb at the image's entry   disasm      print the assembly
  maps       draw the kernel's address space  size        print sizes by crate
  bench      measure memory management        bench-boot  measure image, boot
  bench-threads  measure two threads against one, on a quiet computer
  check      check format, lints, rustdoc     doc         build the rustdoc
  setup      install what is missing          clean       remove target/

  A=apps/helloworld  path of the application     ARCH=riscv64  x86_64, aarch64,
  SMP=1         harts, 1 to 64                                 loongarch64, host
  MEM=128M      memory in K, M or G              MODE=release  debug
  LOG=warn      off error warn info debug trace  ACCEL=tcg     kvm, auto
  FEATURES=     the kernel's: alloc,smp,...      APP_FEATURES= the program's
  ARGS=         arguments of the application     SEED=         of a random test
  QEMU_ARGS=    further arguments for QEMU       V=1           show commands
  PROG=         one program of apps/tutorial; all without it
  TIME=60       seconds of fuzzing               N=100         boots of smp-soak
  TIMEOUT=60    seconds without output after which a run has hung; 0: no limit

make exits with status 2 on every failure. `cargo xtask run ARCH=...` exits with
the status of the guest. More is in docs/running.md.
endef

help:
	$(info $(HELP))
	@:

# With exec, xtask replaces the shell and is a child of make, which passes it signals.
$(VERBS):
	@exec scripts/xtask.sh $@

clean:
	rm -rf target
