.PHONY: help demo test test-vm lint bench soak
help demo test test-vm lint bench soak:
	@./dev $@
