.PHONY: help build demo test test-vm lint bench soak
help build demo test test-vm lint bench soak:
	@./dev $@
