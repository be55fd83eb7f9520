.PHONY: help demo test lint bench soak
help demo test lint bench soak:
	@./dev $@
