-- The time of the clock of tasks, and whether it is frozen.
select horsies.now(), exists (select from horsies.clock c where c.frozen_at is not null)
