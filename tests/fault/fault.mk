# tests/fault/fault.mk - `make fault`: faults, deaths and power cuts of whole daemons, for hours. tests/fault/run says what.
FAULT_LIB     := $(B)/tests/fault/faultlib.so
TEST_PROGRAMS += $(FAULT_LIB)

# Never instrumented: it sits between the daemon, instrumented or not, and the kernel.
$(FAULT_LIB): tests/fault/faultlib.c tests/fault/faultlib.h
	@mkdir -p $(@D)
	$(if $(V),,@echo "  cc    $<")
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE -O2 -g $(WARN) -I. -fPIC -shared -o $@ $< -ldl -lpthread

# The named kill points are in sanitizer builds only.
.PHONY: fault fault-points
fault: build-all $(FAULT_LIB)
	@tests/fault/run $(B) $(or $(FAULT_PARTS),checker sweep kills cuts images clusters)
	@$(if $(FAULT_PARTS)$(SANITIZE),,$(MAKE) --no-print-directory SANITIZE=address fault-points)

fault-points: build-all $(FAULT_LIB)
	@tests/fault/run $(B) points

# Bugs put into copies of the tree, which the tests of clusters must see.
.PHONY: mutants
mutants:
	@tests/fault/mutants
