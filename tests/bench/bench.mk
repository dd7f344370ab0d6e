# tests/bench/bench.mk - `make bench`: the budget table. QUICK=1 takes smaller volumes. BENCH_ARGS goes to tests/bench/bench:
# BENCH_ARGS="--rows cluster" measures three brokers, and nothing else (about 8 minutes with Apache Kafka).
RDKAFKA_EXAMPLE := /usr/share/doc/librdkafka-dev/examples/rdkafka_performance.c
BENCH_PROGRAMS  := $(B)/tests/bench/floors $(B)/tests/bench/ack $(B)/tests/bench/keyed $(B)/tests/bench/groups

$(B)/tests/bench/%: $(B)/obj/tests/bench/%.o $(B)/libbase.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(B)/libbase.a -lisal -lpthread

$(B)/tests/bench/keyed: $(B)/obj/tests/bench/keyed.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -lrdkafka -lpthread

GROUPS_OBJS := $(patsubst %,$(B)/obj/tests/bench/%.o,groups group_member)
$(B)/tests/bench/groups: $(GROUPS_OBJS) $(B)/libproto.a $(B)/libbase.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $(GROUPS_OBJS) $(B)/libproto.a $(B)/libbase.a $(LIBS)

# The example's includes of the library's private headers give way to one header of ours. Where packages are installed
# without their documentation, the example comes out of the package itself.
$(B)/tests/bench/rdkafka_performance: tests/bench/rdkafka_compat.h
	@mkdir -p $(@D)
	$(Q)if [ -e $(RDKAFKA_EXAMPLE) ]; then cp $(RDKAFKA_EXAMPLE) $@.example; else \
	    cd $(@D) && apt-get download -qq librdkafka-dev && \
	    dpkg-deb --fsys-tarfile librdkafka-dev_*.deb | tar -xO .$(RDKAFKA_EXAMPLE) >rdkafka_performance.example && \
	    rm -f librdkafka-dev_*.deb; fi
	$(Q)grep -vE '#include "(\.\./|rd|rdtime|rdkafka)' $@.example >$@.c
	$(Q)$(CC) -D_GNU_SOURCE -O2 -w -include tests/bench/rdkafka_compat.h -I. -o $@ $@.c -lrdkafka -lpthread

.PHONY: bench
bench: build-all $(BENCH_PROGRAMS) $(B)/tests/bench/rdkafka_performance
	@tests/bench/bench $(B) $(if $(QUICK),--quick) $(BENCH_ARGS)
