# tests/fuzz/fuzz.mk - one program for each tests/fuzz/fuzz_*.c: with our own driver for `make test`, with clang's
# libFuzzer for `make fuzz` (FUZZ_SECONDS for each target; what it finds is left in build/fuzz/found).
FUZZ_NAMES    := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BINS     := $(patsubst %,$(B)/tests/fuzz/%,$(FUZZ_NAMES))
FUZZ_LIBS     := $(call libs,storage config proto base)
FUZZ_LINK     := -ljansson -lz -lsnappy -llz4 -lzstd -lcrypto -lisal -lm -lpthread
FUZZ_SECONDS  ?= 60
FUZZ_SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=all
TEST_PROGRAMS += $(FUZZ_BINS)

$(FUZZ_BINS): $(B)/tests/fuzz/%: $(B)/obj/tests/fuzz/%.o $(B)/obj/tests/fuzz/check.o $(B)/obj/tests/fuzz/driver.o $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(FUZZ_LINK)

# The same objects with libFuzzer's main instead of ours.
$(B)/libfuzzer/%: $(B)/obj/tests/fuzz/%.o $(B)/obj/tests/fuzz/check.o $(FUZZ_LIBS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(FUZZ_LINK)

.PHONY: fuzz libfuzzer-programs
libfuzzer-programs: $(patsubst %,$(B)/libfuzzer/%,$(FUZZ_NAMES))

fuzz: $(FUZZ_BINS)
	@command -v clang >/dev/null || { echo "fuzz: clang is not installed (apt-get install clang); see also: make test"; exit 1; }
	@$(MAKE) --no-print-directory B=build/fuzz CC=clang WARN="-Wall -Wno-unknown-warning-option" \
	    OPT="-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link $(FUZZ_SANITIZE)" libfuzzer-programs
	@for t in $(FUZZ_NAMES); do \
	    mkdir -p build/fuzz/seeds/$$t build/fuzz/corpus/$$t build/fuzz/found && $(B)/tests/fuzz/$$t -w build/fuzz/seeds/$$t && \
	    build/fuzz/libfuzzer/$$t -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -print_final_stats=1 -verbosity=0 \
	        -artifact_prefix=build/fuzz/found/$$t- build/fuzz/corpus/$$t build/fuzz/seeds/$$t || exit 1; done
