# Klamm - `make` builds, `make run` starts a broker, `make test` tests. README.md says the rest.
#
#   SANITIZE=address   address and undefined-behaviour sanitizers, in build/address
#   SANITIZE=thread    thread sanitizer, in build/thread
#   V=1                print the commands
SANITIZE ?=
B        := build$(if $(SANITIZE),/$(SANITIZE))
Q        := $(if $(V),,@)
CC       ?= gcc

WARN     := -Wall -Wextra -Wshadow -Wconversion -Werror
HARDEN   := -fPIE -fstack-protector-strong -fcf-protection
DEFS     := -D_GNU_SOURCE
LDHARDEN := -pie -Wl,-z,relro,-z,now
ifeq ($(SANITIZE),)
OPT      := -O2 -g
DEFS     += -D_FORTIFY_SOURCE=2
else ifeq ($(SANITIZE),address)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
DEFS     += -DKLAMM_CHECK_LOCKS -DKLAMM_KILL_POINTS
else ifeq ($(SANITIZE),thread)
OPT      := -O1 -g -fno-omit-frame-pointer -fsanitize=thread
DEFS     += -DKLAMM_CHECK_LOCKS -DKLAMM_KILL_POINTS
else
$(error SANITIZE is address or thread)
endif
CFLAGS   := -std=gnu11 $(OPT) $(WARN) $(HARDEN) $(EXTRA_CFLAGS)
CPPFLAGS := $(DEFS) -I. -I$(B)/gen
LDFLAGS  := $(OPT) $(LDHARDEN)
LIBS     := -levent_core -levent_pthreads -lzookeeper_mt -ljansson -lz -lsnappy -llz4 -lzstd -lssl -lcrypto -llmdb -lisal -lm -lpthread

# ---- the layers, lowest first; each is one static library. MAY.x is what x may include. ----------------------
LAYERS       := base proto config metadata storage broker tools
MAY.base     := base
MAY.proto    := base proto gen
MAY.config   := base config
MAY.metadata := base config metadata
MAY.storage  := base storage proto/records proto/compress
MAY.broker   := base proto gen config metadata storage broker
MAY.tools    := base proto gen config metadata tools
MAY.tools/dump_log := $(MAY.tools) storage
MAY.tools/retention := $(MAY.tools) storage
LAYER_EXTRAS := tools/dump_log tools/retention

src       = $(sort $(shell find $(1) -name '*.c' 2>/dev/null))
objs      = $(patsubst %.c,$(B)/obj/%.o,$(1))

.SECONDARY:
.PHONY: all
all: build-all

# Each fragment adds to: SRC.<layer>, PROGRAMS, TEST_PROGRAMS.
PROTO_MAIN   := proto/generator/%
SRC.base     := $(call src,base)
SRC.proto    := $(filter-out $(PROTO_MAIN),$(call src,proto))
SRC.config   := $(call src,config)
SRC.metadata := $(call src,metadata)
SRC.storage  := $(call src,storage)
SRC.broker   := $(filter-out broker/main.c,$(call src,broker))
SRC.tools    := $(filter-out tools/klamm.c tools/dev/%,$(call src,tools))

-include proto/proto.mk

libs      = $(foreach l,$(1),$(B)/lib$(l).a)
ALL_LIBS := $(call libs,tools broker storage metadata config proto base)
DAEMON_LIBS := $(call libs,broker storage metadata config proto base)
TOOL_LIBS := $(call libs,tools storage metadata config proto base)

define layer_rule
$(B)/lib$(1).a: $(call objs,$(SRC.$(1))) $(GEN_OBJS.$(1))
	$(Q)mkdir -p $$(@D) && rm -f $$@ && $(AR) crs $$@ $$^
endef
$(foreach l,$(LAYERS),$(eval $(call layer_rule,$(l))))

# Other flags than last time: every object is made anew.
FLAGS := $(CC) $(CPPFLAGS) $(CFLAGS)
ifneq ($(FLAGS),$(shell cat $(B)/.flags 2>/dev/null))
$(shell mkdir -p $(B) && printf '%s\n' '$(FLAGS)' >$(B)/.flags)
endif

$(B)/obj/%.o: %.c $(B)/.flags | $(GEN_STAMP)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    $<")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# ---- programs -----------------------------------------------------------------------------------------------
PROGRAMS := $(if $(wildcard broker/main.c),$(B)/klammd) $(if $(wildcard tools/klamm.c),$(B)/klamm)

$(B)/klammd: $(B)/obj/broker/main.o $(DAEMON_LIBS)
	$(if $(V),,@echo "  link  $@")
	$(Q)$(CC) $(LDFLAGS) -o $@ $(B)/obj/broker/main.o $(DAEMON_LIBS) $(LIBS)

# Only what it uses, because every library costs start time.
TOOL_SYSLIBS := -Wl,--as-needed $(LIBS) -lrdkafka -lpcre2-8
TOOL_LDFLAGS.thread := -Wl,-u,thrd_create
$(B)/klamm: $(B)/obj/tools/klamm.o $(TOOL_LIBS)
	$(if $(V),,@echo "  link  $@")
	$(Q)$(CC) $(LDFLAGS) $(TOOL_LDFLAGS.$(SANITIZE)) -o $@ $(B)/obj/tools/klamm.o $(TOOL_LIBS) $(TOOL_SYSLIBS)

# build/bin: every kafka-*.sh name that exists so far is klamm itself.
$(B)/bin/.made: $(B)/klamm tools/names.txt
	$(Q)mkdir -p $(@D) && rm -f $(@D)/*.sh && for n in $$(grep -v '^#' tools/names.txt); do ln -sf ../klamm $(@D)/$$n; done && touch $@

.PHONY: build-all
build-all: $(ALL_LIBS) $(PROGRAMS) $(if $(wildcard tools/names.txt),$(B)/bin/.made) $(EXTRA_PROGRAMS)

# ---- unit tests: one program for each tests/unit/**/test_*.c ------------------------------------------------
UNIT_SRC  := $(call src,tests/unit)
UNIT_BINS := $(patsubst tests/unit/%.c,$(B)/tests/unit/%,$(filter tests/unit/%,$(UNIT_SRC)))

$(B)/tests/unit/%: $(B)/obj/tests/unit/%.o $(ALL_LIBS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -Wl,--start-group $(ALL_LIBS) -Wl,--end-group $(LIBS) -lrdkafka -lpcre2-8 \
	    $$(pkg-config --libs check)

-include tests/tests.mk

.PHONY: setup layers style symbols unit run clean
setup:
	@sh tools/dev/setup.sh

layers:
	@$(foreach d,$(LAYERS),sh tools/dev/layers.sh $(d) $(MAY.$(d)) $(addprefix -,$(filter $(d)/%,$(LAYER_EXTRAS))) &&) true
	@$(foreach d,$(LAYER_EXTRAS),sh tools/dev/layers.sh $(d) $(MAY.$(d)) &&) true

style:
	@sh tools/dev/style.sh

symbols: build-all
	@sh tools/dev/symbols.sh $(B)

# In two steps, since the first may install what the second looks for.
run: setup
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@sh tools/dev/run.sh $(B)

clean:
	$(Q)rm -rf build

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
