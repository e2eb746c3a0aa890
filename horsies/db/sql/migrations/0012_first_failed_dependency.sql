-- A clearer name for the position, in `waits_for`, of the first dependency that did not complete.
alter table horsies.workflow_nodes rename column blamed to first_failed_dependency;
