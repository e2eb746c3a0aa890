-- Names in standard terms: the position, in `waits_for`, of the first dependency that did not complete; how many workers
-- died while they held a task that they had not started; and the index of the tasks that are claimed or running.
alter table horsies.workflow_nodes rename column blamed to first_failed_dependency;
alter table horsies.tasks rename column hand_backs to worker_deaths;
alter index horsies.tasks_in_hand rename to tasks_in_flight;
