# proto/proto.mk - the generator, what it makes from proto/schema/, and the objects of that, which join libproto.a.
# Everything is compiled after GEN_STAMP, so that proto/gen/*.h is there.
SCHEMAS     := $(sort $(wildcard proto/schema/*.json))
GEN_GROUPS  := 12
GEN_DIR     := $(B)/gen/proto/gen
GEN_STAMP   := $(B)/gen/.made
GENERATOR   := $(B)/gen/generator
GEN_SRC     := $(sort $(wildcard proto/generator/*.c))
GEN_NUMBERS := $(shell seq 0 $$(($(GEN_GROUPS) - 1)))
GEN_C       := $(foreach n,$(GEN_NUMBERS),codec_$(n) json_$(n)) apis messages
GEN_OBJS.proto := $(patsubst %,$(B)/obj/gen/%.o,$(GEN_C))

# A tool of the build: never instrumented.
$(GENERATOR): $(GEN_SRC) $(wildcard proto/generator/*.h)
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    proto/generator")
	$(Q)$(CC) -std=gnu11 -O1 $(WARN) $(DEFS) -U_FORTIFY_SOURCE -I. -o $@ $(GEN_SRC) -ljansson

$(GEN_STAMP): $(GENERATOR) $(SCHEMAS) proto/proto.mk
	@mkdir -p $(GEN_DIR)
	$(if $(V),,@echo "  gen   $(GEN_DIR)")
	$(Q)$(GENERATOR) $(GEN_DIR) $(GEN_GROUPS) $(SCHEMAS)
	$(Q)touch $@

# What did not change keeps its time, so its users are not compiled again.
$(patsubst %,$(GEN_DIR)/%.c,$(GEN_C)): $(GEN_STAMP) ;
$(GEN_DIR)/%.h: $(GEN_STAMP) ;

$(B)/obj/gen/%.o: $(GEN_DIR)/%.c $(B)/.flags
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    $<")
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# Built by a plain `make` too, for vectors from elsewhere.
EXTRA_PROGRAMS += $(B)/tests/wire_vectors
