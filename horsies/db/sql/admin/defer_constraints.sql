-- Lets deferrable constraints be checked at the end of the transaction again, after `check_constraints.sql`.
set constraints all deferred
