# tests/tests.mk - `make test` and its parts. Included by the Makefile.

# tests/NAME_vectors.c: programs that hold one part against vectors.
VECTOR_BINS   := $(patsubst %.c,$(B)/%,$(wildcard tests/*_vectors.c))
TEST_PROGRAMS += $(VECTOR_BINS)
$(VECTOR_BINS): $(B)/tests/%: $(B)/obj/tests/%.o $(ALL_LIBS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(LIBS)

include tests/fuzz/fuzz.mk
include tests/fault/fault.mk

# Everything that tests/run starts must be built first; vector and fuzz programs add themselves to TEST_PROGRAMS.
.PHONY: test-programs system interop test check
test-programs: build-all $(UNIT_BINS) $(TEST_PROGRAMS)

# On a machine that lacks packages the first make installs them; the second, in the same command, sees them.
test: setup
	@$(MAKE) --no-print-directory -j$$(nproc) all test-programs
	@$(MAKE) --no-print-directory check

check:
	@$(MAKE) --no-print-directory layers style symbols
	@tests/run $(B)

unit: test-programs
	@tests/run $(B) --only unit

system: test-programs
	@tests/run $(B) --only system

# Apache Kafka's own tools against our broker; each starts a JVM, so they are not part of `make test`.
interop: build-all
	@tests/run $(B) --only interop

include tests/bench/bench.mk
