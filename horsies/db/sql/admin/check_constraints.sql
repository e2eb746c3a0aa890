-- Checks all deferred constraints of the transaction of a task now, before its outcome is written.
set constraints all immediate
