"""Pure functions: what was asked (`pyjail._spec`) + what the machine is (`pyjail._host`) -> rows, each with its why."""
